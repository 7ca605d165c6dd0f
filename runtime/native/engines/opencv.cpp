// OpenCV's DNN: the fallback that every distribution has. From OpenCV 5 on it runs what `vreid export` and
// `vreid quantize` write; OpenCV 4 reads older float graphs only: opset 11, no Q/DQ, nothing of the newer
// exporter.
#include <opencv2/dnn.hpp>
#include <utility>

#include "network.hpp"
#include "onnx_file.hpp"
#include "table.hpp"
#include "vreid/errors.hpp"

namespace vreid {
namespace {

constexpr bool NEW = CV_VERSION_MAJOR >= 5;

/// `file` as a net; OpenCV's error for a graph that it cannot read becomes a sentence.
cv::dnn::Net net_of(const Manifest& manifest, const EngineFile& file) {
    if (!NEW && manifest.precision == "int8") {
        throw Refused("the DNN of OpenCV " CV_VERSION " does not run the INT8 (Q/DQ) graph " +
                      file.path.string() + "; take the fp32 manifest, another engine, or OpenCV 5");
    }
    try {
        return cv::dnn::readNetFromONNX(file.bytes.data(), file.bytes.size());
    } catch (const cv::Exception& error) {
        const std::string limits = NEW ? ""
                                       : "; before OpenCV 5 it reads float32 graphs of opset 11 and none of "
                                         "the newer (dynamo) exporter";
        throw Refused("the DNN of OpenCV " CV_VERSION " cannot read " + file.path.string() + " (" +
                      first_line(error.err) + ")" + limits + "; take another engine");
    }
}

/// One net; its ports are those that the file declares, since OpenCV does not name them.
class OpenCv : public Network {
 public:
    OpenCv(const Manifest& manifest, const EngineFile& file)
        : path_(file.path), file_(onnx_from(file.bytes, file.path)), net_(net_of(manifest, file)) {
        net_.setPreferableBackend(cv::dnn::DNN_BACKEND_OPENCV);
        net_.setPreferableTarget(cv::dnn::DNN_TARGET_CPU);
    }

    [[nodiscard]] std::vector<Port> inputs() const override { return file_.inputs; }
    [[nodiscard]] std::vector<Port> outputs() const override { return file_.outputs; }

    const float* run(const void* values, const std::vector<std::int64_t>& shape,
                     std::vector<std::int64_t>& found) override {
        const std::vector<int> sizes(shape.begin(), shape.end());
        const bool bytes = file_.inputs.at(0).dtype == "uint8";
        // a Mat over the caller's numbers, which are not written to; before OpenCV 5 a Cast does nothing, and
        // floats are wanted
        const cv::Mat given(sizes, bytes ? CV_8U : CV_32F, const_cast<void*>(values));
        try {
            if (bytes && !NEW) {
                given.convertTo(floats_, CV_32F);
            } else {
                floats_ = given;
            }
            net_.setInput(floats_, file_.inputs[0].name);
            out_ = net_.forward(file_.outputs.at(0).name);
        } catch (const cv::Exception& error) {
            throw Refused("the DNN of OpenCV " CV_VERSION " cannot run " + path_.string() +
                          "; take another engine (" + first_line(error.err) + ")");
        }
        if (out_.depth() != CV_32F || !out_.isContinuous()) {
            throw Refused("the DNN of OpenCV gave no float32 for " + path_.string() +
                          "; take another engine");
        }
        found.assign(out_.size.p, out_.size.p + out_.dims);
        return out_.ptr<float>();
    }

 private:
    std::filesystem::path path_;
    OnnxFile file_;
    cv::dnn::Net net_;
    cv::Mat floats_;
    cv::Mat out_;
};

}  // namespace

std::unique_ptr<Network> open_opencv(const Manifest& manifest, const EngineFile& file,
                                     int /*threads: OpenCV's are the process's*/) {
    return std::make_unique<OpenCv>(manifest, file);
}

}  // namespace vreid
