// The folder of a run's outputs and its gallery: of a finite run they appear whole or not at all, of a live
// one they grow. Mirrors runtime/staging.py and galleries/lasting.py.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "../gallery/lock.hpp"
#include "vreid/gallery.hpp"
#include "vreid/manifest.hpp"

namespace vreid::watch {

/// A folder that is gone with this object, and what is in it.
class Draft {
 public:
    explicit Draft(const std::filesystem::path& pattern);  // ends in XXXXXX
    Draft(const Draft&) = delete;
    Draft& operator=(const Draft&) = delete;
    ~Draft();

    const std::filesystem::path folder;
};

/// Where a run writes: `out` itself when live, otherwise a draft that `keep` moves there. Folders that were
/// made for it go away again where they are empty. Refused when `out` is a file or cannot be written.
class Outputs {
 public:
    Outputs(std::filesystem::path out, bool live);
    Outputs(const Outputs&) = delete;
    Outputs& operator=(const Outputs&) = delete;
    ~Outputs();

    [[nodiscard]] const std::filesystem::path& folder() const { return draft_ ? draft_->folder : out_; }

    /// Refused where `out` holds a folder of a file's name: before anything is moved, while the gallery can
    /// still forget.
    void refuse_in_the_way() const;

    /// The files in their place, each replacing what had its name.
    void keep();

 private:
    std::filesystem::path out_;
    std::vector<std::filesystem::path> missing_;  // the innermost first
    std::optional<Draft> draft_;
};

/// The gallery of a run: one that lasts for the run where there is no path, and a new one of a finite run
/// appears when it is kept. Refused where there is neither a gallery to search nor one to begin.
class RunGallery {
 public:
    RunGallery(const std::optional<std::filesystem::path>& path, const Manifest& manifest, bool enrol,
               bool live);

    Gallery& operator*() { return *gallery_; }
    Gallery* operator->() { return &*gallery_; }

    /// Close it, and put a new one in its place.
    void keep();

 private:
    std::filesystem::path path_;
    std::unique_ptr<gallery::WriterLock> lock_;  // of a new gallery's place
    std::optional<Draft> draft_;
    std::optional<Gallery> gallery_;
};

}  // namespace vreid::watch
