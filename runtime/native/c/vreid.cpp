// The C interface: versions, errors, and what all of its calls check.
#include <climits>

#include "handles.hpp"

namespace vreid::c {

void Failure::set(const char* sentence) noexcept {
    try {
        const std::lock_guard<std::mutex> guard(mutex_);
        sentence_ = sentence;
    } catch (const std::exception&) {  // no memory for the sentence: the status shows that it failed
    }
}

Failure& of_thread() noexcept {
    static thread_local Failure failure;
    return failure;
}

vreid_status failed(Failure* handle, vreid_status status, const char* sentence) noexcept {
    of_thread().set(sentence);
    if (handle != nullptr) handle->set(sentence);
    return status;
}

std::string text_of(const char* text, const char* name) { return &given(text, name); }

cv::Mat picture_of(const vreid_picture& picture) {
    const std::int64_t least = std::int64_t{3} * picture.width;
    if (picture.width < 1 || picture.height < 1 || picture.stride < least || picture.stride > INT_MAX) {
        throw Refused("a picture of " + std::to_string(picture.width) + " x " +
                      std::to_string(picture.height) + " pixels and a stride of " +
                      std::to_string(picture.stride) +
                      " bytes is not a valid picture; pass its sides and at least 3 bytes a pixel");
    }
    given(picture.pixels, "the picture's pixels");
    return {picture.height, picture.width, CV_8UC3, const_cast<std::uint8_t*>(picture.pixels),
            static_cast<std::size_t>(picture.stride)};
}

}  // namespace vreid::c

extern "C" {

uint32_t vreid_abi_version(void) { return VREID_ABI_VERSION; }

const char* vreid_version(void) { return VREID_VERSION; }

const char* vreid_last_error(void) { return vreid::c::of_thread().text(); }

}  // extern "C"
