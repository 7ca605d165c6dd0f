// The members of the seam of engines; each is compiled where its library is found. They run the bytes that
// were hashed, and open no file.
#pragma once

#include <memory>
#include <string>

#include "core/model.hpp"
#include "network.hpp"
#include "vreid/engine.hpp"

namespace vreid {

std::unique_ptr<Network> open_openvino(const Manifest& manifest, const EngineFile& file, int threads);
std::unique_ptr<Network> open_onnxruntime(const Manifest& manifest, const EngineFile& file, int threads);
std::unique_ptr<Network> open_opencv(const Manifest& manifest, const EngineFile& file, int threads);
std::unique_ptr<Engine> open_tensorrt(const Manifest& manifest, const EngineFile& file);

/// The engine of `manifest` in bytes that were hashed already, on `threads` CPU threads where it uses any;
/// `name` as for engine_for. Refused for one that is not compiled in.
std::unique_ptr<Engine> open_engine(const Manifest& manifest, const EngineFile& file, int threads,
                                    const std::string& name = "");

}  // namespace vreid
