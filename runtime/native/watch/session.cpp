// The run: sources -> detector -> tracker -> crops -> embedder -> gallery -> sightings.jsonl. Mirrors
// runtime/session.py and pipeline.py.
#include <algorithm>
#include <chrono>
#include <iostream>

#include "deciding.hpp"
#include "merge.hpp"
#include "report.hpp"
#include "staging.hpp"
#include "vreid/detector.hpp"
#include "vreid/embedder.hpp"
#include "vreid/errors.hpp"
#include "vreid/watch.hpp"

namespace vreid {
namespace watch {
namespace {

constexpr double kRememberedS = 3600.0;  // of the time before a live run, in which vehicles were somewhere
constexpr double kDefaultThreshold = 0.6;
constexpr double kToldAfter = 60.0;  // seconds after which an open track of a live run is told, and goes on

double now() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// Asks the sources' threads to end, all at once; each source's own end waits for its thread.
struct Closing {
    const Sources& sources;

    explicit Closing(const Sources& all) : sources(all) {}
    Closing(const Closing&) = delete;
    Closing& operator=(const Closing&) = delete;
    ~Closing() {
        for (const auto& source : sources) source->close();
    }
};

/// A run of open parts.
class Run {
 public:
    Run(const WatchOptions& options, const Sources& sources, Bell& bell, Detector& detector,
        Embedder& embedder, Deciding& deciding, Profile& profile, bool live)
        : options_(options),
          sources_(sources),
          bell_(bell),
          detector_(detector),
          embedder_(embedder),
          deciding_(deciding),
          profile_(profile),
          live_(live),
          started_(options.began.value_or(now())) {
        const double first = detector.first_score();
        TrackerRules tracking;
        tracking.strong = first;
        tracking.weak = std::min(0.1, first);
        const double told_after = live ? kToldAfter : std::numeric_limits<double>::infinity();
        for (const auto& source : sources) {
            watching_.try_emplace(source->camera, source->camera, options.embed_every ? every() : smart(),
                                  tracking, detector.least_travel(), told_after,
                                  source->live() ? source->began() : started_);
        }
    }

    /// Every frame, and the end of every track.
    void follow(const std::atomic<bool>& stop) {
        Merge merge(sources_, bell_, stop);
        while (!stop) {
            const std::vector<Frame> together = waited(merge);
            if (together.empty()) break;
            step(together);
            frames_ += static_cast<std::int64_t>(together.size());
            options_.progress(frames_);
        }
        if (stop && !live_) throw Stopped();
        for (const auto& source : sources_) deciding_.take(watching_.at(source->camera).close());
    }

    [[nodiscard]] std::string summary(double threshold) const {
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began_;
        const Facts facts{embedder_.manifest(),
                          sources_,
                          watching_,
                          deciding_.tally(),
                          profile_,
                          started_,
                          seconds.count(),
                          threshold,
                          live_,
                          options_.detector,
                          options_.embed_every ? "every" : "smart"};
        return summary_of(facts).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    }

 private:
    std::vector<Frame> waited(Merge& merge) {
        const auto timer = profile_.time("wait");
        return merge.next();
    }

    void step(const std::vector<Frame>& together) {
        std::vector<Detections> found;
        {
            const auto timer = profile_.time("detect");
            found = detector_.detect(together);
        }
        std::vector<std::pair<Watching*, Wanted>> wanted;
        {
            const auto timer = profile_.time("track");
            for (std::size_t i = 0; i < together.size(); ++i) {
                Watching& watching = watching_.at(together[i].camera);
                for (Wanted& want : watching.see(together[i], found[i]))
                    wanted.emplace_back(&watching, std::move(want));
            }
        }
        if (!wanted.empty()) embed(wanted);
        for (const Frame& frame : together) deciding_.take(watching_.at(frame.camera).finished());
    }

    /// One batch over all cameras.
    void embed(const std::vector<std::pair<Watching*, Wanted>>& wanted) {
        const Manifest& manifest = embedder_.manifest();
        const auto dim = static_cast<std::size_t>(manifest.output.dim);
        const auto height = static_cast<std::size_t>(manifest.input.height);
        const auto width = static_cast<std::size_t>(manifest.input.width);
        std::vector<cv::Mat> crops;
        for (const auto& [watching, want] : wanted) crops.push_back(want.crop);
        pixels_.resize(crops.size() * height * width * 3);
        features_.resize(crops.size() * dim);
        {
            const auto timer = profile_.time("preprocess");
            batch_of(crops, manifest.input.height, manifest.input.width, pixels_.data());
        }
        {
            const auto timer = profile_.time("embed");
            embedder_.infer(pixels_.data(), static_cast<int>(crops.size()), features_.data());
        }
        for (std::size_t i = 0; i < wanted.size(); ++i) {
            wanted[i].first->learn(wanted[i].second, features_.data() + i * dim, dim);
        }
    }

    const WatchOptions& options_;
    const Sources& sources_;
    Bell& bell_;
    Detector& detector_;
    Embedder& embedder_;
    Deciding& deciding_;
    Profile& profile_;
    bool live_;
    double started_;
    std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
    std::map<std::string, Watching> watching_;
    std::int64_t frames_ = 0;
    std::vector<std::uint8_t> pixels_;
    std::vector<float> features_;
};

std::string names_of(const Sources& sources) {
    std::string names;
    for (const auto& source : sources) names += (names.empty() ? "" : ", ") + source->camera;
    return names;
}

/// All decided jointly at the end; the gallery is kept before the outputs are, and those only need a rename.
std::string run_files(Run& run, Deciding& deciding, Outputs& outputs, RunGallery& gallery, double threshold,
                      const Sources& sources, const std::atomic<bool>& stop) {
    run.follow(stop);
    std::string summary;
    const auto decide = [&] {
        deciding.close();
        if (deciding.tally().sightings == 0) {
            throw Refused("no vehicle was found in " + names_of(sources) +
                          "; try another --detector or a lower --min-score");
        }
        summary = run.summary(threshold);
        write_report(outputs.folder(), summary);
        outputs.refuse_in_the_way();
    };
    if (gallery->writable()) {
        gallery->transaction(decide);
    } else {
        decide();
    }
    gallery.keep();
    outputs.keep();
    return summary;
}

/// What the cameras showed cannot be seen again, so that it is told even where the run fails.
std::string run_live(Run& run, Deciding& deciding, Outputs& outputs, double threshold,
                     const std::atomic<bool>& stop) {
    std::exception_ptr failure;
    const auto tried = [&failure](const auto& part) {
        try {
            part();
        } catch (...) {
            if (!failure) failure = std::current_exception();
        }
    };
    tried([&] { run.follow(stop); });
    tried([&] { deciding.close(); });
    std::string summary = run.summary(threshold);
    write_report(outputs.folder(), summary);
    if (failure) std::rethrow_exception(failure);
    return summary;
}

}  // namespace
}  // namespace watch

std::string watch_sources(const WatchOptions& options, const std::atomic<bool>& stop) {
    if (options.sources.empty()) {
        throw Refused(
            "there is nothing to watch; name at least one source, such as cam1.mp4 or rtsp://gate-1/");
    }
    Embedder embedder = open_embedder(options.model, options.threads, options.engine);
    const auto detector = open_detector(options.detector, options.threads, options.min_score);
    watch::Bell bell;
    const watch::Sources sources = watch::open_sources(options.sources, bell, stop, options.warn);
    const watch::Closing closing(sources);
    const bool live =
        std::any_of(sources.begin(), sources.end(), [](const auto& source) { return source->live(); });
    const auto& match = embedder.manifest().match;
    const double threshold = options.threshold.value_or(match ? match->threshold : watch::kDefaultThreshold);
    if (!(-1 <= threshold && threshold <= 1)) {  // before a live run makes its gallery
        throw Refused("a threshold is a cosine from -1 to 1, not " + std::to_string(threshold) +
                      "; leave --threshold out for the manifest's");
    }
    watch::Outputs outputs(options.out, live);
    watch::RunGallery gallery(options.gallery, embedder.manifest(), options.enrol_unknown, live);
    const std::string name = options.out.filename().string();
    gallery->set_who("run:" + name);
    watch::Identifier identifier(*gallery, {threshold, options.enrol_unknown, options.new_below, 0.25, name});
    if (live) identifier.recall(watch::now() - watch::kRememberedS);
    Profile profile;
    watch::SightingsFile file(outputs.folder());
    watch::Deciding deciding(identifier, file, profile, live);
    watch::Run run(options, sources, bell, *detector, embedder, deciding, profile, live);
    return live ? watch::run_live(run, deciding, outputs, threshold, stop)
                : watch::run_files(run, deciding, outputs, gallery, threshold, sources, stop);
}

}  // namespace vreid
