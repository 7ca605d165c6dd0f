// Reads a manifest as models/manifest.py does: strictly, and only next to the very engine it was written for.
#include "vreid/manifest.hpp"

#include <algorithm>
#include <limits>
#include <set>
#include <system_error>

#include "fields.hpp"
#include "files.hpp"
#include "model.hpp"
#include "vreid/errors.hpp"

namespace vreid {
namespace {

namespace fs = std::filesystem;

constexpr int SCHEMA = 1;
constexpr std::int64_t MOST = std::numeric_limits<int>::max();  // of a length that is used as an int
constexpr std::uintmax_t MOST_BYTES = 16 << 20;  // of a manifest; the largest real one has some kB
constexpr int MOST_DEPTH = 100;                  // of brackets; a sound manifest has three
constexpr std::string_view BYTE_ORDER_MARK = "\xef\xbb\xbf";

/// Watches the parser: refuses a key that an object has twice, and brackets within brackets without end.
class Keys {
 public:
    bool operator()(int depth, Json::parse_event_t event, Json& parsed) {
        if (depth > MOST_DEPTH) throw Refused("nested too deeply");
        if (event == Json::parse_event_t::object_start) open_.emplace_back();
        if (event == Json::parse_event_t::object_end) open_.pop_back();
        if (event == Json::parse_event_t::key) {
            const auto& name = parsed.get_ref<const std::string&>();
            if (!open_.back().insert(name).second) {
                throw Refused("the key '" + shown(name) + "' is there twice");
            }
        }
        return true;
    }

 private:
    std::vector<std::set<std::string>> open_;
};

bool is_sha256(const std::string& text) {
    return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char digit) {
               return (digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f');
           });
}

std::string sha256_in(Fields& fields, const std::string& name) {
    std::string text = fields.text(name);
    if (!is_sha256(text)) fields.refuse(name, "input should be 64 hex digits");
    return text;
}

/// One name, and neither "." nor "..".
bool is_file_name(const std::string& text) {
    return text.find_first_of("/\\") == std::string::npos && text.find_first_not_of('.') != std::string::npos;
}

std::string text_of_least(Fields& fields, const std::string& name, std::size_t least) {
    std::string text = fields.text(name);
    if (length_of(text) < least)
        fields.refuse(name, "input should have at least " + std::to_string(least) + " characters");
    return text;
}

Manifest::Input input_from(Fields fields) {
    Manifest::Input found;
    if (fields.has("name")) found.name = fields.text("name");
    fields.only("dtype", "uint8");
    fields.only("layout", "NHWC");
    fields.only("order", "BGR");
    found.height = static_cast<int>(fields.whole("height", 1, MOST));
    found.width = static_cast<int>(fields.whole("width", 1, MOST));
    fields.only("resize", "bilinear");
    fields.only("keep_aspect", false);
    const auto batch = fields.wholes("batch", 1, MOST);
    if (batch.size() != found.batch.size()) fields.refuse("batch", "input should have 3 items");
    if (!std::is_sorted(batch.begin(), batch.end())) fields.refuse("batch", "least, best and most must rise");
    std::transform(batch.begin(), batch.end(), found.batch.begin(),
                   [](auto size) { return static_cast<int>(size); });
    fields.close();
    return found;
}

Manifest::Output output_from(Fields fields) {
    Manifest::Output found;
    if (fields.has("name")) found.name = fields.text("name");
    found.dim = static_cast<int>(fields.whole("dim", 1, MOST));
    fields.only("normalized", true);
    fields.only("metric", "cosine");
    fields.close();
    return found;
}

Manifest::Cost cost_from(Fields fields) {
    const Manifest::Cost found{fields.whole("params", 0), fields.whole("macs", 0), fields.whole("flops", 0)};
    fields.close();
    return found;
}

Manifest::Accuracy accuracy_from(Fields fields) {
    Manifest::Accuracy found{fields.text("dataset"), fields.number("map", 0, 100),
                             fields.number("rank1", 0, 100), fields.whole("queries", 0)};
    fields.close();
    return found;
}

Manifest::Match match_from(Fields fields) {
    const Manifest::Match found{fields.number("threshold", -1, 1), fields.number("false_match_rate", 0, 1),
                                fields.whole("gallery", 0)};
    fields.close();
    return found;
}

Manifest::Calibration calibration_from(Fields fields) {
    Manifest::Calibration found{fields.text("dataset"),    fields.whole("images", 1),
                                fields.whole("seed", 0),   sha256_in(fields, "sha256"),
                                fields.text("method"),     fields.text("target"),
                                fields.texts("kept_float")};
    fields.close();
    return found;
}

void refuse_schema(const Json& whole, const std::string& file) {
    const auto found = whole.find("schema");
    if (found == whole.end() || !equal_as_in_python(*found, SCHEMA)) {
        const std::string schema =
            found == whole.end() ? "none" : found->dump(-1, ' ', false, Json::error_handler_t::replace);
        throw Refused(file + " has schema " + shown(schema) + " and this vreid reads schema " +
                      std::to_string(SCHEMA) + "; export it again");
    }
}

Manifest whole_from(Fields fields) {
    Manifest found;
    fields.only("schema", SCHEMA);
    found.name = text_of_least(fields, "name", 1);
    found.engine = fields.text("engine");
    if (!is_file_name(found.engine))
        fields.refuse("engine", "input should be the name of a file next to the manifest");
    found.sha256 = sha256_in(fields, "sha256");
    found.backend = fields.text("backend");
    found.precision = fields.text("precision");
    if (found.precision != "fp32" && found.precision != "fp16" && found.precision != "int8") {
        fields.refuse("precision", "input should be 'fp32', 'fp16' or 'int8'");
    }
    found.input = input_from(fields.object("input"));
    found.output = output_from(fields.object("output"));
    found.cost = cost_from(fields.object("cost"));
    if (!fields.is_null("accuracy")) found.accuracy = accuracy_from(fields.object("accuracy"));
    if (!fields.is_null("match")) found.match = match_from(fields.object("match"));
    if (fields.has("calibration") && !fields.is_null("calibration")) {  // older manifests need not name it
        found.calibration = calibration_from(fields.object("calibration"));
    }
    found.fingerprint = text_of_least(fields, "fingerprint", 8);
    if (!fields.is_null("built_for")) {
        const auto named = fields.named_texts("built_for");
        found.built_for.emplace(named.begin(), named.end());
    }
    if (!fields.is_null("made_from")) found.made_from = sha256_in(fields, "made_from");
    fields.close();
    return found;
}

}  // namespace

Manifest manifest_from(std::string_view text, const fs::path& path) {
    const std::string file = path.string();
    Json whole;
    try {
        if (text.substr(0, BYTE_ORDER_MARK.size()) == BYTE_ORDER_MARK)
            throw Refused("it begins with a byte order mark");
        whole = Json::parse(text, Keys());
    } catch (const std::exception& error) {  // nlohmann's errors, and those of Keys
        throw Refused(file + " is not a JSON manifest (" + error.what() +
                      "); make it again with 'vreid export'");
    }
    if (whole.is_object()) refuse_schema(whole, file);
    return whole_from(Fields(whole, file, ""));
}

EngineFile engine_file(const Manifest& manifest, const fs::path& engine, const fs::path& path) {
    std::error_code unused;
    const bool cut = manifest.engine.find('\0') != std::string::npos;  // where C would end the name
    if (cut || !fs::is_regular_file(engine, unused)) {
        throw Refused(path.string() + " names the engine " + manifest.engine.c_str() +
                      ", which is not in the same folder; keep the two together");
    }
    EngineFile found{engine, read_bytes(engine)};
    if (sha256_of(found.bytes) != manifest.sha256) {
        throw Refused(engine.string() + " is not the file that " + path.filename().string() +
                      " was written for (sha256 differs); export the model again");
    }
    return found;
}

std::pair<Manifest, EngineFile> read_model(const fs::path& path) {
    std::error_code unused;
    if (!fs::is_regular_file(path, unused)) {
        throw Refused("there is no manifest " + path.string() + "; make one with 'vreid export'");
    }
    if (fs::file_size(path, unused) > MOST_BYTES) {
        throw Refused(path.string() +
                      " is larger than 16 MiB, so it is not a manifest; make it again with 'vreid export'");
    }
    Manifest manifest = manifest_from(read_bytes(path), path);
    EngineFile engine = engine_file(manifest, path.parent_path() / manifest.engine, path);
    return {std::move(manifest), std::move(engine)};
}

Manifest read_manifest(const fs::path& path) { return read_model(path).first; }

}  // namespace vreid
