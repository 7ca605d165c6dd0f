// Drafts, and how they take their place.
#include "staging.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>

#include "../gallery/store.hpp"
#include "vreid/errors.hpp"

namespace vreid::watch {
namespace {

namespace fs = std::filesystem;

fs::path made(const fs::path& pattern) {
    std::string name = pattern.string();
    if (::mkdtemp(name.data()) == nullptr) {
        throw Refused("cannot write " + pattern.parent_path().string() + " (" + std::strerror(errno) +
                      "); make room or choose another --out");
    }
    return name;
}

/// What the file system says, as a sentence.
void written(const fs::path& out, const std::function<void()>& body) {
    try {
        body();
    } catch (const fs::filesystem_error& error) {
        throw Refused("cannot write " + out.string() + " (" + error.code().message() +
                      "); make room or choose another --out");
    }
}

/// What was renamed in `folder` survives a loss of power.
void on_disk(const fs::path& folder) {
    const int handle = ::open(folder.c_str(), O_RDONLY | O_CLOEXEC);
    if (handle < 0) return;
    ::fsync(handle);
    ::close(handle);
}

}  // namespace

Draft::Draft(const fs::path& pattern) : folder(made(pattern)) {}

Draft::~Draft() {
    std::error_code ignored;
    fs::remove_all(folder, ignored);
}

Outputs::Outputs(fs::path out, bool live) : out_(fs::absolute(out).lexically_normal()) {
    if (!out_.has_filename()) out_ = out_.parent_path();
    if (fs::exists(out_) && !fs::is_directory(out_))
        throw Refused(out.string() + " is a file; give a folder for --out");
    written(out, [&] {
        for (fs::path folder = out_; !fs::exists(folder); folder = folder.parent_path())
            missing_.push_back(folder);
        fs::create_directories(live ? out_ : out_.parent_path());
        const fs::path home = fs::is_directory(out_) ? out_ : out_.parent_path();
        if (!live) draft_.emplace(home / ("." + out_.filename().string() + "-XXXXXX"));
    });
}

Outputs::~Outputs() {
    draft_.reset();
    std::error_code ignored;
    for (const fs::path& folder : missing_) {
        if (fs::is_directory(folder, ignored) && fs::is_empty(folder, ignored)) fs::remove(folder, ignored);
    }
}

void Outputs::refuse_in_the_way() const {
    for (const auto& entry : fs::directory_iterator(folder())) {
        const std::string name = entry.path().filename().string();
        if (draft_ && fs::is_directory(out_ / name)) {
            throw Refused((out_ / name).string() + " is in the way of the run's " + name +
                          "; remove it or choose another --out");
        }
    }
}

void Outputs::keep() {
    if (!draft_) return;
    refuse_in_the_way();
    written(out_, [&] {
        if (!fs::exists(out_)) {
            ::chmod(draft_->folder.c_str(), 0755);  // mkdtemp's own folder is closed to everybody else
            fs::rename(draft_->folder, out_);
            return;
        }
        for (const auto& entry : fs::directory_iterator(draft_->folder)) {
            fs::rename(entry.path(), out_ / entry.path().filename());
        }
    });
}

RunGallery::RunGallery(const std::optional<fs::path>& path, const Manifest& manifest, bool enrol, bool live) {
    if (!path && !enrol)
        throw Refused("a run needs a --gallery to search, or --enrol-unknown to begin an empty one");
    if (!path) {
        draft_.emplace(fs::temp_directory_path() / "vreid-XXXXXX");
        gallery_ = open_gallery(draft_->folder / "run.db", manifest, true);
        return;
    }
    path_ = fs::weakly_canonical(*path);
    if (live || !enrol || fs::exists(path_)) {
        gallery_ = open_gallery(path_, manifest, enrol);
        return;
    }
    if (!fs::is_directory(path_.parent_path())) {
        throw Refused("there is no folder " + path_.parent_path().string() +
                      " for the gallery; make it first");
    }
    lock_ = std::make_unique<gallery::WriterLock>(path_);
    if (fs::exists(path_)) {  // between the look and the lock
        throw Refused("another program has just made the gallery " + path_.string() +
                      "; run again to add to it");
    }
    gallery::refuse_stray_log(path_);
    draft_.emplace(path_.parent_path() / ("." + path_.filename().string() + "-XXXXXX"));
    gallery_ = open_gallery(draft_->folder / path_.filename(), manifest, true);
}

void RunGallery::keep() {
    gallery_->close();
    if (!lock_) return;
    fs::rename(draft_->folder / path_.filename(), path_);
    on_disk(path_.parent_path());
}

}  // namespace vreid::watch
