// Frames pulled from a GStreamer pipeline, on a Jetson from its camera or its hardware decoder, and looked up
// in a gallery.
//     find_appsink PIPELINE MANIFEST GALLERY DETECTOR
// PIPELINE ends in BGR and an appsink named "frames" that drops what is too late:
//     nvarguscamerasrc ! nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR !
//     appsink name=frames max-buffers=1 drop=true
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <gst/video/video.h>

#include <iostream>
#include <memory>
#include <string>

#include "vreid/detector.hpp"
#include "vreid/embedder.hpp"
#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"

namespace {

struct Unref {
    void operator()(GstElement* element) const {
        gst_element_set_state(element, GST_STATE_NULL);
        gst_object_unref(element);
    }
    void operator()(GstSample* sample) const { gst_sample_unref(sample); }
};

/// A copy of the sample's pixels: the buffer goes back to the pipeline at once.
cv::Mat picture_of(GstSample* sample) {
    GstVideoInfo info;
    GstVideoFrame frame;
    if (!gst_video_info_from_caps(&info, gst_sample_get_caps(sample)) ||
        GST_VIDEO_INFO_FORMAT(&info) != GST_VIDEO_FORMAT_BGR ||
        !gst_video_frame_map(&frame, &info, gst_sample_get_buffer(sample), GST_MAP_READ)) {
        throw vreid::Refused(
            "the pipeline gives no BGR; put videoconvert ! video/x-raw,format=BGR before its appsink");
    }
    const auto stride = static_cast<std::size_t>(GST_VIDEO_FRAME_PLANE_STRIDE(&frame, 0));
    const cv::Mat seen(info.height, info.width, CV_8UC3, GST_VIDEO_FRAME_PLANE_DATA(&frame, 0), stride);
    cv::Mat copy = seen.clone();
    gst_video_frame_unmap(&frame);
    return copy;
}

void look(const char* pipeline, const char* manifest, const char* path, const char* detecting) {
    vreid::Embedder embedder = vreid::open_embedder(manifest);
    const vreid::Gallery gallery = vreid::open_gallery(path, embedder.manifest(), /*write=*/false);
    const auto detector = vreid::open_detector(detecting);
    GError* wrong = nullptr;
    const std::unique_ptr<GstElement, Unref> playing(gst_parse_launch(pipeline, &wrong));
    if (wrong != nullptr) {
        const std::string said = wrong->message;
        g_error_free(wrong);
        throw vreid::Refused("GStreamer cannot make the pipeline (" + said + "); try it with gst-launch-1.0");
    }
    const std::unique_ptr<GstElement, Unref> sink(gst_bin_get_by_name(GST_BIN(playing.get()), "frames"));
    if (sink == nullptr)
        throw vreid::Refused("the pipeline has no appsink named frames; end it in appsink name=frames");
    gst_element_set_state(playing.get(), GST_STATE_PLAYING);
    for (std::int64_t index = 0;; ++index) {
        const std::unique_ptr<GstSample, Unref> sample(gst_app_sink_pull_sample(GST_APP_SINK(sink.get())));
        if (sample == nullptr) return;  // the end, or a camera that is gone
        const vreid::Frame frame{"gst", index, 0, picture_of(sample.get())};
        for (const vreid::Detection& found : detector->detect({frame}).front()) {
            const auto feature = embedder.embed({vreid::cut_out(frame.image, found.box)});
            for (const vreid::Hit& hit : gallery.search(feature, 1).front())
                std::cout << index << ": " << hit.name << " (" << hit.score << ")\n";
        }
    }
}

}  // namespace

int main(int count, char** words) {
    gst_init(&count, &words);
    if (count != 5) {
        std::cerr << "find_appsink PIPELINE MANIFEST GALLERY DETECTOR\n";
        return 2;
    }
    try {
        look(words[1], words[2], words[3], words[4]);
    } catch (const vreid::Refused& refusal) {
        std::cerr << refusal.what() << '\n';
        return 2;
    }
    return 0;
}
