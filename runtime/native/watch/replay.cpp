// Replay: boxes from MOT text instead of a network; a way to bring your own boxes. Mirrors
// runtime/detectors/replay.py.
#include <algorithm>
#include <filesystem>
#include <map>

#include "mot.hpp"
#include "options.hpp"
#include "vreid/errors.hpp"

namespace vreid::watch {
namespace {

namespace fs = std::filesystem;

/// Frame `index` of a camera shows the boxes of MOT frame `index + 1`; ids are not passed on.
class Replay final : public Detector {
 public:
    Replay(fs::path path, double min_score, double min_visibility)
        : path_(std::move(path)),
          min_score_(static_cast<float>(min_score)),
          min_visibility_(static_cast<float>(min_visibility)) {}

    /// Refused: a camera without a file, or a file that is not MOT text.
    std::vector<Detections> detect(const std::vector<Frame>& frames) override {
        std::vector<Detections> found;
        for (const Frame& frame : frames) {
            if (cameras_.count(frame.camera) == 0) cameras_[frame.camera] = read(frame.camera);
            const std::vector<MotRow>& rows = cameras_[frame.camera];
            const auto before = [](const MotRow& row, std::int64_t number) { return row.frame < number; };
            auto row = std::lower_bound(rows.begin(), rows.end(), frame.index + 1, before);
            Detections& shown = found.emplace_back();
            for (; row != rows.end() && row->frame == frame.index + 1; ++row) {
                shown.push_back({{row->x, row->y, row->x + row->w, row->y + row->h}, row->score, row->kind});
            }
        }
        return found;
    }

    [[nodiscard]] double first_score() const override { return 0; }  // what somebody wrote down is a vehicle

 private:
    /// The camera's boxes worth showing, sorted by frame.
    std::vector<MotRow> read(const std::string& camera) const {
        std::vector<MotRow> rows = read_mot(file_of(camera));
        const auto poor = [this](const MotRow& row) {
            return !(row.score >= min_score_ && row.visibility >= min_visibility_);
        };
        rows.erase(std::remove_if(rows.begin(), rows.end(), poor), rows.end());
        std::stable_sort(rows.begin(), rows.end(),
                         [](const MotRow& a, const MotRow& b) { return a.frame < b.frame; });
        return rows;
    }

    fs::path file_of(const std::string& camera) const {
        if (fs::is_regular_file(path_)) {
            if (cameras_.empty()) return path_;
            throw Refused(path_.string() + " is one file and serves camera '" + cameras_.begin()->first +
                          "'; give a folder that also holds " + camera + ".txt");
        }
        for (const std::string& name : {camera + ".txt", "gt_" + camera + ".txt"}) {
            if (fs::is_regular_file(path_ / name)) return path_ / name;
        }
        throw Refused(path_.string() + " has no boxes for camera '" + camera + "'; put " + camera +
                      ".txt or gt_" + camera + ".txt into it");
    }

    fs::path path_;
    float min_score_, min_visibility_;
    std::map<std::string, std::vector<MotRow>> cameras_;
};

}  // namespace

std::unique_ptr<Detector> open_replay(const Asked& asked) {
    if (asked.target.empty() || !fs::exists(asked.target)) {
        throw Refused("there is nothing to replay at '" + asked.target +
                      "'; write replay:FILE or replay:FOLDER with MOT text");
    }
    const auto values = numbers_of("replay", asked, {{"min_visibility", {0.1, 0.0, 1.0}}});
    return std::make_unique<Replay>(asked.target, asked.min_score.value_or(0.0), values.at("min_visibility"));
}

}  // namespace vreid::watch
