// The seam of engines: which member runs a manifest, and the error where it was not compiled in.
#include "table.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

#include "network.hpp"
#include "vreid/errors.hpp"

namespace vreid {
namespace {

using OpenNetwork = std::unique_ptr<Network> (*)(const Manifest& manifest, const EngineFile& file,
                                                 int threads);
using OpenEngine = std::unique_ptr<Engine> (*)(const Manifest& manifest, const EngineFile& file);

/// What can run an ONNX file, the quickest on a CPU first.
const std::vector<std::pair<std::string, OpenNetwork>>& networks() {
    static const std::vector<std::pair<std::string, OpenNetwork>> table = {
#ifdef VREID_WITH_OPENVINO
        {"openvino", open_openvino},
#endif
#ifdef VREID_WITH_ONNXRUNTIME
        {"onnxruntime", open_onnxruntime},
#endif
#ifdef VREID_WITH_OPENCV
        {"opencv", open_opencv},
#endif
    };
    return table;
}

/// What runs a plan that was built for this device.
const std::vector<std::pair<std::string, OpenEngine>>& plans() {
    static const std::vector<std::pair<std::string, OpenEngine>> table = {
#ifdef VREID_WITH_TENSORRT
        {"tensorrt", open_tensorrt},
#endif
    };
    return table;
}

template <typename Open>
Open member(const std::vector<std::pair<std::string, Open>>& table, const std::string& name) {
    const auto found =
        std::find_if(table.begin(), table.end(), [&](const auto& one) { return one.first == name; });
    return found == table.end() ? nullptr : found->second;
}

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
    return text.empty() ? "none" : text;
}

bool is_onnx(const std::filesystem::path& path) { return path.extension() == ".onnx"; }

/// An engine of a network whose ports are the manifest's.
class NetworkEngine : public Engine {
 public:
    NetworkEngine(const Manifest& manifest, const std::filesystem::path& path,
                  std::unique_ptr<Network> network)
        : network_(std::move(network)),
          height_(manifest.input.height),
          width_(manifest.input.width),
          name_(manifest.name),
          dim_(manifest.output.dim) {
        refuse_ports(manifest, path, network_->inputs(), network_->outputs());
    }

    void infer(const std::uint8_t* pixels, int batch, float* features) override {
        const std::lock_guard<std::mutex> held(lock_);
        std::vector<std::int64_t> shape;
        const float* found = network_->run(pixels, {batch, height_, width_, 3}, shape);
        if (shape != std::vector<std::int64_t>{batch, dim_}) {
            throw Refused("the engine of " + name_ +
                          " gave another shape than its manifest; export the model again");
        }
        std::copy_n(found, static_cast<std::size_t>(batch) * static_cast<std::size_t>(dim_), features);
    }

 private:
    std::unique_ptr<Network> network_;
    std::int64_t height_;
    std::int64_t width_;
    std::string name_;
    std::int64_t dim_;
    std::mutex lock_;
};

}  // namespace

std::vector<std::string> engine_names() {
    std::vector<std::string> names;
    for (const auto& [name, open] : networks()) names.push_back(name);
    for (const auto& [name, open] : plans()) names.push_back(name);
    return names;
}

std::string engine_for(const Manifest& manifest, const std::string& name) {
    if (!name.empty()) return name;
    const std::string& backend = manifest.backend;
    const bool is_network = backend == "onnxruntime" || backend == "openvino" || backend == "opencv";
    if (!is_network || member(networks(), backend)) return backend;
    for (const auto* other :
         {"openvino", "onnxruntime"}) {  // not OpenCV, whose older releases read few files
        if (member(networks(), other)) return other;
    }
    return backend;
}

std::unique_ptr<Engine> open_engine(const Manifest& manifest, const EngineFile& file, int threads,
                                    const std::string& name) {
    const std::string wanted = engine_for(manifest, name);
    if (const OpenEngine open = member(plans(), wanted)) return open(manifest, file);
    if (const OpenNetwork open = member(networks(), wanted)) {
        if (!is_onnx(file.path)) {
            throw Refused(file.path.string() + " is built for " + manifest.backend + " and '" + wanted +
                          "' runs ONNX files; take the manifest of the ONNX it was built from");
        }
        return std::make_unique<NetworkEngine>(manifest, file.path, open(manifest, file, threads));
    }
    std::string fix =
        "; build it with that library, or make a manifest for one of: " + joined(engine_names());
    if (is_onnx(file.path) && !networks().empty()) {
        fix = "; the same ONNX file runs with --engine " + networks().front().first +
              ", or build vreid with that library";
    }
    throw Refused("this vreid was built without the engine '" + wanted + "'" + fix);
}

}  // namespace vreid
