// A ROS 2 node: an image and the vehicles that a detector found in it come in, the same vehicles with their
// names go out.
#if __has_include(<cv_bridge/cv_bridge.hpp>)
#include <cv_bridge/cv_bridge.hpp>
#else
#include <cv_bridge/cv_bridge.h>  // up to Iron
#endif
#include <message_filters/subscriber.h>
#include <message_filters/sync_policies/exact_time.h>
#include <message_filters/synchronizer.h>

#include <memory>
#include <rclcpp/rclcpp.hpp>
#include <rclcpp_components/register_node_macro.hpp>
#include <sensor_msgs/msg/image.hpp>
#include <vision_msgs/msg/detection2_d_array.hpp>

#include "vreid/embedder.hpp"
#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"

namespace vreid_ros {

using sensor_msgs::msg::Image;
using vision_msgs::msg::Detection2DArray;

/// Parameters: model (a manifest), gallery (its file, only read), threads, threshold (below: unknown; the
/// manifest's by default). Topics: image and detections, of one time stamp, in; vehicles out: each
/// detection's id is the vehicle's name, or empty.
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
        threshold_ = declare_parameter<double>("threshold", match ? match->threshold : 0.7);
        vehicles_ = create_publisher<Detection2DArray>("vehicles", 10);
        both_.registerCallback(&VreidNode::see, this);
    }

 private:
    using Policy = message_filters::sync_policies::ExactTime<Image, Detection2DArray>;

    void see(const Image::ConstSharedPtr& image, const Detection2DArray::ConstSharedPtr& found) {
        const cv::Mat frame = cv_bridge::toCvShare(image, "bgr8")->image;
        std::vector<cv::Mat> crops;
        for (const auto& detection : found->detections)
            crops.push_back(vreid::cut_out(frame, box_of(detection)));
        Detection2DArray told = *found;
        try {
            const auto hits = crops.empty() ? std::vector<std::vector<vreid::Hit>>()
                                            : gallery_.search(embedder_.embed(crops), 1);
            for (std::size_t place = 0; place < hits.size(); ++place) {
                const bool known = !hits[place].empty() && hits[place][0].score >= threshold_;
                told.detections[place].id = known ? hits[place][0].name : std::string();
            }
        } catch (
            const vreid::Refused& refusal) {  // a gallery that was moved away, say: the next picture may do
            RCLCPP_ERROR_THROTTLE(get_logger(), *get_clock(), 5000, "%s", refusal.what());
            return;
        }
        vehicles_->publish(told);
    }

    static vreid::Box box_of(const vision_msgs::msg::Detection2D& detection) {
        const auto& box = detection.bbox;
        const auto x = static_cast<float>(box.center.position.x);
        const auto y = static_cast<float>(box.center.position.y);
        const auto width = static_cast<float>(box.size_x) / 2;
        const auto height = static_cast<float>(box.size_y) / 2;
        return {x - width, y - height, x + width, y + height};
    }

    vreid::Embedder embedder_;
    vreid::Gallery gallery_;
    double threshold_ = 0;
    message_filters::Subscriber<Image> images_;
    message_filters::Subscriber<Detection2DArray> detections_;
    message_filters::Synchronizer<Policy> both_;
    rclcpp::Publisher<Detection2DArray>::SharedPtr vehicles_;
};

}  // namespace vreid_ros

RCLCPP_COMPONENTS_REGISTER_NODE(vreid_ros::VreidNode)
