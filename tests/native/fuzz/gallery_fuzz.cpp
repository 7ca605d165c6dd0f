// Whatever bytes lie where a gallery should, it is read, written or refused: no crash, no other exception, no
// undefined behaviour. Seeds: gallery_seeds.py.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"

namespace {

namespace fs = std::filesystem;

/// Where the bytes are laid down; in memory where there is such a folder: a disk would be what is measured.
class Folder {
 public:
    Folder()
        : path_((fs::exists("/dev/shm") ? "/dev/shm" : fs::temp_directory_path()) /
                ("vreid-fuzz-" + std::to_string(::getpid()))) {
        fs::create_directories(path_);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { fs::remove_all(path_); }

    [[nodiscard]] const fs::path& path() const { return path_; }

 private:
    fs::path path_;
};

fs::path laid_down(const std::uint8_t* data, std::size_t size) {
    static const Folder folder;
    const fs::path path = folder.path() / "g.db";
    for (const char* suffix : {"", "-wal", "-shm", "-journal", ".lock", ".new"})
        fs::remove(path.string() + suffix);
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
    return path;
}

void ask_all(const fs::path& path) {
    const vreid::Gallery gallery = vreid::read_gallery(path);
    const std::vector<float> query(static_cast<std::size_t>(gallery.about().dim), 1.0F);
    const auto tried = [](const auto& body) {
        try {
            body();
        } catch (const vreid::Refused&) {
        }
    };
    tried([&] { static_cast<void>(gallery.stats()); });
    tried([&] { static_cast<void>(gallery.search(query, 3)); });
    tried([&] {
        vreid::Filter only;
        only.cameras = {"gate"};
        only.kinds = {"car"};
        static_cast<void>(gallery.search(query, 3, gallery.allowed(only)));
    });
    tried([&] { static_cast<void>(gallery.scores(query, {1, 2, 99})); });
    tried([&] { static_cast<void>(gallery.find("taxi")); });
    tried([&] { static_cast<void>(gallery.with_other_plates({"B 1"})); });
    tried([&] {
        for (const auto& vehicle : gallery.vehicles()) {
            if (static_cast<std::uint64_t>(vehicle.id) % 4 == 1)
                static_cast<void>(gallery.prototypes(vehicle.id));
        }
    });
}

void write_all(const fs::path& path) {
    vreid::Gallery gallery = vreid::edit_gallery(path);
    vreid::Sighting seen;
    seen.camera = "gate";
    seen.feature.assign(static_cast<std::size_t>(gallery.about().dim), 1.0F);
    static_cast<void>(gallery.search(seen.feature, 2));
    gallery.transaction([&] {
        const std::int64_t vehicle = gallery.add_vehicle();
        gallery.add_prototype(vehicle, "gate", seen.feature);
        gallery.add_prototype(1, "gate", seen.feature, 0.5);
        gallery.add_sighting(vehicle, seen, 0.5);
        gallery.rename(vehicle, "fuzzed");
    });
    gallery.remove(1);
    static_cast<void>(gallery.search(seen.feature, 2));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    for (auto* const work : {&ask_all, &write_all}) {
        try {
            work(laid_down(data, size));
        } catch (const vreid::Refused& refusal) {  // one sentence
            if (std::string(refusal.what()).find('\n') != std::string::npos) std::abort();
        }
    }
    return 0;
}
