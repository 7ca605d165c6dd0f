// Test only: a gallery driven by JSON, one command a line, one answer a line, so that Python can hold it
// against its own.
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>

#include "gallery/names.hpp"
#include "gallery/text.hpp"
#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"

namespace {

using Json = nlohmann::json;

struct Undo : std::runtime_error {
    using std::runtime_error::runtime_error;
};

template <typename T>
std::optional<T> maybe(const Json& from, const char* key) {
    const auto found = from.find(key);
    return found == from.end() || found->is_null() ? std::nullopt : std::optional<T>(found->get<T>());
}

template <typename T>
Json shown(const std::optional<T>& value) {
    return value ? Json(*value) : Json();
}

cv::Mat picture_of(const Json& from) {
    const auto sides = maybe<std::vector<int>>(from, "picture");
    return sides ? cv::Mat(sides->at(0), sides->at(1), CV_8UC3, cv::Scalar(20, 90, 200)) : cv::Mat();
}

vreid::Filter filter_of(const Json& from) {
    vreid::Filter only;
    only.ids = from.value("ids", only.ids);
    only.cameras = from.value("cameras", only.cameras);
    only.kinds = from.value("kinds", only.kinds);
    only.names = from.value("names", only.names);
    only.plates = from.value("plates", only.plates);
    only.runs = from.value("runs", only.runs);
    only.zones = from.value("zones", only.zones);
    only.since = maybe<double>(from, "since");
    only.until = maybe<double>(from, "until");
    return only;
}

vreid::Sighting sighting_of(const Json& from) {
    vreid::Sighting seen;
    seen.camera = from.at("camera");
    seen.track = from.value("track", 1);
    seen.first_frame = from.value("first_frame", 0);
    seen.last_frame = from.value("last_frame", 9);
    seen.first_time = from.value("first_time", 0.0);
    seen.last_time = from.value("last_time", 1.0);
    seen.kind = from.value("kind", -1);
    seen.feature = from.at("feature").get<std::vector<float>>();
    seen.quality = from.value("quality", 0.5);
    seen.picture = picture_of(from);
    seen.seen = from.value("seen", 0.0);
    seen.plate = maybe<std::string>(from, "plate");
    seen.zones = from.value("zones", seen.zones);
    return seen;
}

class Driver {
 public:
    /// Carries commands out until there are no more, or one of them ends the transaction.
    void listen() {
        for (std::string line; std::getline(std::cin, line);) {
            const Json command = Json::parse(line);
            const std::string verb = command.at("do");
            if (verb == "commit") return;
            if (verb == "rollback") throw Undo("as requested");
            Json answer;
            try {
                answer["ok"] = done(verb, command);
            } catch (const vreid::Refused& refusal) {
                answer["refused"] = refusal.what();
            } catch (const Undo&) {
                answer["ok"] = "undone";
            }
            send(answer);
        }
    }

 private:
    static void send(const Json& answer) {
        std::cout << answer.dump(-1, ' ', true, Json::error_handler_t::replace) << std::endl;
    }

    Json done(const std::string& verb, const Json& command) {
        if (verb == "open" || verb == "read" || verb == "edit") {
            gallery_.reset();
            gallery_.emplace(opened(verb, command));
            const vreid::About& about = gallery_->about();
            return {about.fingerprint, about.dim, about.model, gallery_->writable()};
        }
        if (verb == "name") return named(command);
        if (!gallery_) throw vreid::Refused("no gallery is open");
        if (verb == "close") {
            gallery_->close();
            return true;
        }
        return gallery_->writable() && is_writing(verb) ? written(verb, command) : read(verb, command);
    }

    /// A name, as text or as bytes in hexadecimal digits -> how it is written, and its key.
    static Json named(const Json& command) {
        std::string text = command.value("text", "");
        const std::string digits = command.value("bytes", "");
        for (std::size_t at = 0; at + 1 < digits.size(); at += 2) {
            text += static_cast<char>(std::stoi(digits.substr(at, 2), nullptr, 16));
        }
        const std::string name = vreid::gallery::printable(text);
        return {name, vreid::gallery::key_of(name)};
    }

    static vreid::Gallery opened(const std::string& verb, const Json& command) {
        const std::string path = command.at("path");
        if (verb == "read") return vreid::read_gallery(path);
        if (verb == "edit") return vreid::edit_gallery(path);
        const vreid::About about{command.at("fingerprint"), command.at("dim"), command.at("model")};
        const vreid::Rule rule{command.value("max_prototypes", 8), command.value("merge_above", 0.9)};
        return vreid::open_gallery(path, about, command.at("write"), rule);
    }

    static bool is_writing(const std::string& verb) {
        return verb == "hold" || verb == "transaction" || verb == "vehicle" || verb == "prototype" ||
               verb == "sighting" || verb == "rename" || verb == "remove";
    }

    Json written(const std::string& verb, const Json& command) {
        if (verb == "hold") {  // a transaction that stays open for the commands up to commit or rollback
            gallery_->transaction([this] {
                send({{"ok", "held"}});
                listen();
            });
            return "committed";
        }
        if (verb == "transaction") {
            Json answers = Json::array();
            gallery_->transaction([&] {
                for (const Json& step : command.at("steps")) answers.push_back(done(step.at("do"), step));
                if (command.value("fail", false)) throw Undo("as requested");
            });
            return answers;
        }
        if (verb == "vehicle") {
            return gallery_->add_vehicle(maybe<std::string>(command, "name"), picture_of(command),
                                         maybe<std::string>(command, "kind"));
        }
        const std::int64_t vehicle = command.value("vehicle", std::int64_t{0});
        if (verb == "prototype") {
            return shown(gallery_->add_prototype(vehicle, command.at("view"), command.at("feature"),
                                                 command.value("weight", 1.0)));
        }
        if (verb == "sighting") {
            return gallery_->add_sighting(vehicle, sighting_of(command), command.at("score"),
                                          command.value("run", ""));
        }
        if (verb == "rename") gallery_->rename(vehicle, command.at("name"));
        if (verb == "remove") gallery_->remove(vehicle);
        return true;
    }

    Json read(const std::string& verb, const Json& command) {
        using Ids = std::vector<std::int64_t>;
        if (verb == "search") {
            Json rows = Json::array();
            auto among = maybe<Ids>(command, "vehicles");
            if (command.contains("only")) among = gallery_->allowed(filter_of(command.at("only")));
            for (const auto& hits : gallery_->search(command.at("features"), command.at("k"), among)) {
                rows.push_back(Json::array());
                for (const auto& hit : hits) rows.back().push_back({hit.vehicle, hit.name, hit.score});
            }
            return rows;
        }
        if (verb == "scores")
            return gallery_->scores(command.at("features"), command.at("vehicles").get<Ids>());
        if (verb == "scores_without_bias") {
            return gallery_->scores_without_bias(command.at("feature"), command.at("camera"),
                                                 command.at("vehicles").get<Ids>());
        }
        if (verb == "name_of") return gallery_->name_of(command.at("vehicle"));
        if (verb == "find") return gallery_->find(command.at("text"));
        if (verb == "with_plates") return gallery_->with_plates(command.at("plates"));
        if (verb == "with_other_plates") return gallery_->with_other_plates(command.at("plates"));
        if (verb == "vehicles") return vehicles(filter_of(command.value("only", Json::object())));
        if (verb == "stats") {
            const vreid::Stats stats = gallery_->stats();
            return {stats.vehicles, stats.prototypes,    stats.sightings,     stats.cameras,
                    stats.bytes,    shown(stats.oldest), shown(stats.newest), shown(stats.retention),
                    stats.changes};
        }
        if (verb == "prototypes") {
            Json rows = Json::array();
            for (const auto& one : gallery_->prototypes(command.at("vehicle"))) {
                rows.push_back({one.id, one.view, one.feature, one.weight, one.count});
            }
            return rows;
        }
        return written(verb, command);  // refused: the gallery was opened for reading
    }

    Json vehicles(const vreid::Filter& only) {
        Json rows = Json::array();
        for (const auto& one : gallery_->vehicles(true, only)) {
            rows.push_back({one.id, one.name, one.created, shown(one.kind), one.prototypes, one.sightings,
                            one.cameras, shown(one.last_seen), shown(one.last_at), shown(one.last_camera),
                            one.thumbnail.size()});
        }
        return rows;
    }

    std::optional<vreid::Gallery> gallery_;
};

}  // namespace

int main() {
    Driver().listen();
    return 0;
}
