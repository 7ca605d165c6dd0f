// The files of kept pictures next to a gallery, named as runtime/kept/folder.py names them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace vreid::gallery {

/// A sighting that is deleted: it ended at `seen`, in seconds since 1970.
struct Deleted {
    std::string camera;
    double seen = 0;
    std::int64_t track = 0;
};

/// Kept pictures of sightings that are deleted: their files go when that is committed, and stay when it is
/// not (runtime/gallery/kept_removals.py).
class KeptRemovals {
 public:
    void add(Deleted sighting) { waiting_.push_back(std::move(sighting)); }
    [[nodiscard]] std::size_t count() const { return waiting_.size(); }

    /// Only the first `count` are deleted still.
    void rolled_back(std::size_t count) { waiting_.resize(count); }

    /// Remove the files next to `gallery`, all that can be. Throws Refused that names the first one that
    /// cannot, for nothing in the gallery leads to it any more.
    void committed(const std::filesystem::path& gallery);

 private:
    std::vector<Deleted> waiting_;
};

}  // namespace vreid::gallery
