// What all features of a camera have in common, as vreid run has learnt it and a gallery keeps it
// (runtime/camera_bias.py).
#pragma once

#include <map>
#include <string>
#include <vector>

namespace vreid::gallery {

class CameraBias {
 public:
    /// `text`: what a gallery of features (dim,) keeps of its site's threshold; nothing is taken off where it
    /// was found that raw features find more. Refused for text that is damaged.
    CameraBias(const std::string& text, int dim);

    /// A unit feature (dim,) of `camera` -> one without that camera's bias.
    [[nodiscard]] std::vector<float> removed(std::vector<float> feature, const std::string& camera) const;

 private:
    std::map<std::string, std::vector<float>> offsets_;
};

}  // namespace vreid::gallery
