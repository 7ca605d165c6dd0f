// What the handles of vreid.h are, and how an exception becomes a status: none crosses the boundary.
#pragma once

#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "vreid/embedder.hpp"
#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"
#include "vreid/vreid.h"

namespace vreid::c {

/// The last failure of a handle.
class Failure {
 public:
    void set(const char* sentence) noexcept;
    [[nodiscard]] const char* text() const noexcept { return sentence_.c_str(); }

 private:
    std::mutex mutex_;
    std::string sentence_;
};

/// The last failure of this thread.
Failure& of_thread() noexcept;

}  // namespace vreid::c

struct vreid_embedder {
    std::mutex turn;
    mutable vreid::c::Failure failure;
    std::optional<vreid::Embedder> embedder;
};

struct vreid_gallery {
    vreid::c::Failure failure;
    std::optional<vreid::Gallery> gallery;
};

namespace vreid::c {

vreid_status failed(Failure* handle, vreid_status status, const char* sentence) noexcept;

/// `body`'s work, with the text of what it throws kept for the thread and, where there is one, for the
/// handle.
template <typename Body>
vreid_status guarded(Failure* handle, const Body& body) noexcept {
    try {
        body();
        return VREID_OK;
    } catch (const Refused& refusal) {
        return failed(handle, VREID_REFUSED, refusal.what());
    } catch (const std::exception& error) {
        return failed(handle, VREID_FAILED, error.what());
    } catch (...) {
        return failed(handle, VREID_FAILED, "an unknown error");
    }
}

/// What a pointer points to. Refused, by the argument's name, for NULL.
template <typename T>
T& given(T* pointer, const char* name) {
    if (pointer == nullptr) throw Refused(std::string(name) + " is NULL; pass one");
    return *pointer;
}

std::string text_of(const char* text, const char* name);

/// A view of the caller's pixels; Refused for sides or a stride that cannot be.
cv::Mat picture_of(const vreid_picture& picture);

}  // namespace vreid::c
