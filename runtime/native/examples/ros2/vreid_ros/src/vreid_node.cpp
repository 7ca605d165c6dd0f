// A ROS 2 node: an image and the vehicles that a detector and a tracker found in it come in, the same
// vehicles with their names go out.
#if __has_include(<cv_bridge/cv_bridge.hpp>)
#include <cv_bridge/cv_bridge.hpp>
#else
#include <cv_bridge/cv_bridge.h>  // up to Iron
#endif
#include <message_filters/subscriber.h>
#include <message_filters/sync_policies/exact_time.h>
#include <message_filters/synchronizer.h>

#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <rclcpp/rclcpp.hpp>
#include <rclcpp_components/register_node_macro.hpp>
#include <sensor_msgs/msg/image.hpp>
#include <string>
#include <vector>
#include <vision_msgs/msg/detection2_d_array.hpp>

#include "vreid/embedder.hpp"
#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"
#include "vreid/tracks.hpp"

namespace vreid_ros {

using sensor_msgs::msg::Image;
using vision_msgs::msg::Detection2DArray;

/// Parameters: model (a manifest), gallery (its file, only read), threads, threshold (below: unknown; the
/// manifest's by default), camera (its name), track_ends_s (seconds after which a track that is not seen has
/// ended). Topics: image and detections, of one time stamp, in; each detection's id is the tracker's name of
/// its track, and only crops that add something are embedded. A detection without an id is looked up by its
/// own picture. Vehicles out: each detection's id is the vehicle's name, or empty where it is unknown or its
/// box is not finite.
class VreidNode : public rclcpp::Node {
 public:
    explicit VreidNode(const rclcpp::NodeOptions& options)
        : Node("vreid", options),
          embedder_(vreid::open_embedder(declare_parameter<std::string>("model"),
                                         static_cast<int>(declare_parameter<int>("threads", 1)))),
          gallery_(
              vreid::open_gallery(declare_parameter<std::string>("gallery"), embedder_.manifest(), false)),
          images_(this, "image", rclcpp::SensorDataQoS().get_rmw_qos_profile()),
          detections_(this, "detections", rclcpp::SensorDataQoS().get_rmw_qos_profile()),
          both_(Policy(10), images_, detections_) {
        const auto& match = embedder_.manifest().match;
        rules_.threshold = declare_parameter<double>("threshold", match ? match->threshold : 0.7);
        track_ends_s_ = declare_parameter<double>("track_ends_s", 1.0);
        camera_ = declare_parameter<std::string>("camera", "camera");
        tracks_.emplace(camera_, gallery_, rules_);
        vehicles_ = create_publisher<Detection2DArray>("vehicles", 10);
        both_.registerCallback(&VreidNode::see, this);
    }

 private:
    using Policy = message_filters::sync_policies::ExactTime<Image, Detection2DArray>;

    /// A message that cannot be used, or a gallery that was moved away, ends nothing: the next picture may
    /// do.
    void see(const Image::ConstSharedPtr& image, const Detection2DArray::ConstSharedPtr& found) {
        try {
            vehicles_->publish(named(image, *found));
        } catch (
            const std::exception& error) {  // vreid::Refused, cv_bridge::Exception, cv::Exception, no memory
            RCLCPP_ERROR_THROTTLE(get_logger(), *get_clock(), 5000, "%s", error.what());
        }
    }

    /// A track of the tracker: its number here, and what is known of it.
    struct Track {
        std::int64_t number = 0;
        double last_seen = 0;
        std::string vehicle;
    };

    /// The detections with the vehicles' names.
    Detection2DArray named(const Image::ConstSharedPtr& image, const Detection2DArray& found) {
        const cv_bridge::CvImageConstPtr shared = cv_bridge::toCvShare(image, "bgr8");
        const double now = static_cast<double>(image->header.stamp.sec) + 1e-9 * image->header.stamp.nanosec;
        if (now < newest_ - track_ends_s_) {  // the clock went back, as of a recording that begins again
            names_.clear();
            tracks_.emplace(camera_, gallery_, rules_);
        }
        newest_ = now;
        std::vector<vreid::TrackedBox> boxes;
        Detection2DArray named = found;
        for (auto& detection : named.detections) {
            const std::optional<vreid::Box> box = box_of(detection);
            if (!box) {
                detection.id.clear();
            } else if (detection.id.empty()) {
                detection.id = looked_up(vreid::cut_out(shared->image, *box));
            } else {
                Track& track = names_[detection.id];
                if (track.number == 0) track.number = ++last_number_;
                track.last_seen = now;
                boxes.push_back({track.number, *box});
            }
        }
        follow(tracks_->see(shared->image, frames_++, now, boxes, embedder_) > 0, now);
        for (std::size_t at = 0; at < found.detections.size(); ++at) {
            std::string& id = named.detections[at].id;
            if (!found.detections[at].id.empty() && !id.empty()) id = names_.at(id).vehicle;
        }
        return named;
    }

    /// The name of the vehicle in one picture; empty where it is unknown.
    std::string looked_up(const cv::Mat& crop) {
        const std::vector<vreid::Hit> hits = gallery_.search_one(embedder_.embed({crop}), 1);
        const bool known = !hits.empty() && static_cast<double>(hits[0].score) >= rules_.threshold;
        return known ? hits[0].name : "";
    }

    /// Ends the tracks that are gone, and matches the others anew where crops were embedded.
    void follow(bool is_embedded, double now) {
        for (auto one = names_.begin(); one != names_.end();) {
            Track& track = one->second;
            if (now - track.last_seen > track_ends_s_) {
                tracks_->end(track.number);
                one = names_.erase(one);
                continue;
            }
            const auto match = is_embedded ? tracks_->match(track.number) : std::nullopt;
            if (match) track.vehicle = match->name.value_or("");
            ++one;
        }
    }

    /// None for a box that is NaN, infinite or beyond all pictures.
    static std::optional<vreid::Box> box_of(const vision_msgs::msg::Detection2D& detection) {
        constexpr double FARTHEST = 1e9;  // pixels
        const auto& box = detection.bbox;
        const double x = box.center.position.x;
        const double y = box.center.position.y;
        const double sides[] = {x - box.size_x / 2, y - box.size_y / 2, x + box.size_x / 2,
                                y + box.size_y / 2};
        for (const double side : sides) {
            if (!(std::abs(side) < FARTHEST)) return std::nullopt;
        }
        const auto real = [](double side) { return static_cast<float>(side); };
        return vreid::Box{real(sides[0]), real(sides[1]), real(sides[2]), real(sides[3])};
    }

    vreid::Embedder embedder_;
    vreid::Gallery gallery_;
    std::string camera_;
    vreid::TrackRules rules_;
    std::optional<vreid::TrackIdentifier> tracks_;
    std::map<std::string, Track> names_;  // of the open tracks, by what the tracker calls them
    std::int64_t last_number_ = 0;
    std::int64_t frames_ = 0;
    double track_ends_s_ = 1;
    double newest_ = 0;  // seconds
    message_filters::Subscriber<Image> images_;
    message_filters::Subscriber<Detection2DArray> detections_;
    message_filters::Synchronizer<Policy> both_;
    rclcpp::Publisher<Detection2DArray>::SharedPtr vehicles_;
};

}  // namespace vreid_ros

RCLCPP_COMPONENTS_REGISTER_NODE(vreid_ros::VreidNode)
