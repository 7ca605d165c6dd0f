// Which vehicle is this? Pictures are looked up in a gallery, and whoever is not known is enrolled.
//     find_cpp MANIFEST GALLERY PICTURE...
#include <iostream>
#include <string>

#include "vreid/embedder.hpp"
#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"
#include "vreid/picture.hpp"

int main(int count, char** words) {
    if (count < 4) {
        std::cerr << "find_cpp MANIFEST GALLERY PICTURE...\n";
        return 2;
    }
    try {
        vreid::Embedder embedder = vreid::open_embedder(words[1]);
        const vreid::Manifest& manifest = embedder.manifest();
        const float threshold = static_cast<float>(manifest.match ? manifest.match->threshold : 0.7);
        vreid::Gallery gallery = vreid::open_gallery(words[2], manifest, /*write=*/true);
        for (int at = 3; at < count; ++at) {
            const cv::Mat picture = vreid::read_picture(words[at]);
            const std::vector<float> feature = embedder.embed({picture});
            const std::vector<vreid::Hit> hits = gallery.search_one(feature, 1);
            if (!hits.empty() && hits[0].score >= threshold) {
                std::cout << words[at] << ": " << hits[0].name << " (" << hits[0].score << ")\n";
                continue;
            }
            gallery.transaction([&] {  // all or nothing
                const auto vehicle = gallery.add_vehicle({}, picture);
                gallery.add_prototype(vehicle, "enrolled", feature);
                std::cout << words[at] << ": enrolled as " << gallery.name_of(vehicle) << '\n';
            });
        }
    } catch (const vreid::Refused& refusal) {
        std::cerr << refusal.what() << '\n';
        return 2;
    }
    return 0;
}
