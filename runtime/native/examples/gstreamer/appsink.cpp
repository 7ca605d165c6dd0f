// Frames pulled from a GStreamer pipeline, on a Jetson from its camera or its hardware decoder, and looked up
// in a gallery.
//     find_appsink PIPELINE MANIFEST GALLERY [replay:FILE]
// FILE holds the boxes of tracks, as MOT text: a line of frame,id,left,top,width,height for each, frames from
// 1; what a track is comes out when it has ended. With a detector and a tracker of your own, pass their boxes
// to `TrackIdentifier::see`. Without FILE each frame is looked up as a picture of one vehicle. PIPELINE ends
// in BGR and an appsink named "frames" that drops what is too late:
//     nvarguscamerasrc ! nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR !
//     appsink name=frames max-buffers=1 drop=true
#include <gst/app/gstappsink.h>
#include <gst/gst.h>
#include <gst/video/video.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "vreid/embedder.hpp"
#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"
#include "vreid/tracks.hpp"

namespace {

struct Unref {
    void operator()(GstElement* element) const {
        gst_element_set_state(element, GST_STATE_NULL);
        gst_object_unref(element);
    }
    void operator()(GstBus* bus) const { gst_object_unref(bus); }
    void operator()(GstMessage* message) const { gst_message_unref(message); }
    void operator()(GstSample* sample) const { gst_sample_unref(sample); }
};

/// The boxes of a MOT file by frame, from 0, and the last frame of each track.
struct Boxes {
    std::map<std::int64_t, std::vector<vreid::TrackedBox>> of_frame;
    std::map<std::int64_t, std::int64_t> last;
};

/// The boxes of a MOT file; Refused, by line, for what is not one.
Boxes boxes_of(const std::string& path) {
    Boxes found;
    std::ifstream file(path);
    if (!file)
        throw vreid::Refused(path +
                             " cannot be read; give a file with lines of frame,id,left,top,width,height");
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
        long frame = 0, track = 0;
        float left = 0, top = 0, width = 0, height = 0;
        if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
        if (std::sscanf(line.c_str(), "%ld,%ld,%f,%f,%f,%f", &frame, &track, &left, &top, &width, &height) !=
                6 ||
            frame < 1 || !std::isfinite(left) || !std::isfinite(top) || !(width > 0) || !(height > 0) ||
            !std::isfinite(width) || !std::isfinite(height)) {
            throw vreid::Refused(path + ", line " + std::to_string(number) +
                                 ": not a line of frame,id,left,top,width,height; correct it");
        }
        found.of_frame[frame - 1].push_back({track, {left, top, left + width, top + height}});
        std::int64_t& last = found.last.try_emplace(track, frame - 1).first->second;
        last = std::max<std::int64_t>(last, frame - 1);
    }
    return found;
}

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

/// When the sample was taken, in seconds on the pipeline's clock.
double seconds_of(GstSample* sample) {
    const GstClockTime time = GST_BUFFER_PTS(gst_sample_get_buffer(sample));
    return GST_CLOCK_TIME_IS_VALID(time) ? static_cast<double>(time) / GST_SECOND : 0;
}

void print(const std::string& what, const std::string& name, double score) {
    std::cout << what << ": " << name << " (" << score << ")\n";
}

/// Prints which vehicle a frame shows.
void find(const cv::Mat& picture, std::int64_t index, vreid::Embedder& embedder,
          const vreid::Gallery& gallery) {
    for (const vreid::Hit& hit : gallery.search_one(embedder.embed({picture}), 1))
        print(std::to_string(index), hit.name, static_cast<double>(hit.score));
}

/// Ends the tracks whose last box was in frame `index` or before, and prints what they are.
void end_tracks(vreid::TrackIdentifier& tracks, const Boxes& boxes, std::int64_t index) {
    for (const std::int64_t track : tracks.open()) {
        if (boxes.last.at(track) > index) continue;
        const auto match = tracks.end(track);
        if (match) print("track " + std::to_string(track), match->name.value_or("unknown"), match->score);
    }
}

/// Refused where the pipeline ended by an error.
void check(GstElement* pipeline) {
    const std::unique_ptr<GstBus, Unref> bus(gst_element_get_bus(pipeline));
    const std::unique_ptr<GstMessage, Unref> message(gst_bus_pop_filtered(bus.get(), GST_MESSAGE_ERROR));
    if (message == nullptr) return;
    GError* wrong = nullptr;
    gst_message_parse_error(message.get(), &wrong, nullptr);
    const std::string reason = wrong->message;
    g_error_free(wrong);
    throw vreid::Refused("the pipeline failed (" + reason + "); try it with gst-launch-1.0");
}

void look(const char* pipeline, const char* manifest, const char* path, const std::string& replay) {
    vreid::Embedder embedder = vreid::open_embedder(manifest);
    vreid::Gallery gallery = vreid::open_gallery(path, embedder.manifest(), /*write=*/false);
    const Boxes boxes = replay.empty() ? Boxes() : boxes_of(replay);
    vreid::TrackRules rules;
    rules.threshold = embedder.manifest().match ? embedder.manifest().match->threshold : 0.7;
    vreid::TrackIdentifier tracks("appsink", gallery, rules);
    GError* wrong = nullptr;
    const std::unique_ptr<GstElement, Unref> playing(gst_parse_launch(pipeline, &wrong));
    if (wrong != nullptr) {
        const std::string reason = wrong->message;
        g_error_free(wrong);
        throw vreid::Refused("GStreamer cannot make the pipeline (" + reason +
                             "); try it with gst-launch-1.0");
    }
    const std::unique_ptr<GstElement, Unref> sink(
        GST_IS_BIN(playing.get()) ? gst_bin_get_by_name(GST_BIN(playing.get()), "frames") : nullptr);
    if (sink == nullptr || !GST_IS_APP_SINK(sink.get()))
        throw vreid::Refused("the pipeline has no appsink named frames; end it in appsink name=frames");
    gst_element_set_state(playing.get(), GST_STATE_PLAYING);
    for (std::int64_t index = 0;;) {
        const std::unique_ptr<GstSample, Unref> sample(
            gst_app_sink_try_pull_sample(GST_APP_SINK(sink.get()), GST_SECOND / 5));
        if (sample == nullptr) {  // the end, a camera that is slow, or a pipeline that failed
            check(playing.get());
            if (gst_app_sink_is_eos(GST_APP_SINK(sink.get()))) break;
            continue;
        }
        const cv::Mat picture = picture_of(sample.get());
        const auto shown = boxes.of_frame.find(index);
        if (replay.empty()) find(picture, index, embedder, gallery);
        if (shown != boxes.of_frame.end())
            tracks.see(picture, index, seconds_of(sample.get()), shown->second, embedder);
        end_tracks(tracks, boxes, index);
        ++index;
    }
    end_tracks(tracks, boxes, std::numeric_limits<std::int64_t>::max());
}

}  // namespace

int main(int count, char** words) {
    gst_init(&count, &words);
    const std::string boxes = count == 5 ? words[4] : "replay:";
    if (count < 4 || count > 5 || boxes.rfind("replay:", 0) != 0) {
        std::cerr << "find_appsink PIPELINE MANIFEST GALLERY [replay:FILE]\n";
        return 2;
    }
    try {
        look(words[1], words[2], words[3], boxes.substr(7));
    } catch (const std::exception& error) {  // vreid::Refused, or what a library throws
        std::cerr << error.what() << '\n';
        return 2;
    }
    return 0;
}
