// A process that forks: its child may let go of what it inherited, and changes nothing for the parent.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <thread>

#include "vreid/embedder.hpp"
#include "vreid/errors.hpp"
#include "vreid/gallery.hpp"

namespace {

namespace fs = std::filesystem;

const vreid::About kSpace{"aaaaaaaa", 4, "small"};

class ForkTest : public testing::Test {
 protected:
    void SetUp() override {
        folder_ = fs::temp_directory_path() / ("vreid-fork-" + std::to_string(::getpid()));
        fs::remove_all(folder_);
        fs::create_directories(folder_);
        gallery.emplace(vreid::open_gallery(path(), kSpace, true));
        enrol("one");
    }
    void TearDown() override {
        gallery.reset();
        fs::remove_all(folder_);
    }

    [[nodiscard]] fs::path path() const { return folder_ / "g.db"; }

    void enrol(const std::string& name) {
        gallery->transaction(
            [&] { gallery->add_prototype(gallery->add_vehicle(name), "gate", {1, 0, 0, 0}); });
    }

    /// Whether `work` gives true in a child.
    bool in_child(const std::function<bool()>& work) {
        const pid_t child = ::fork();
        if (child == 0) {
            ::alarm(60);  // one that waits for a thread of its parent is ended
            bool right = false;
            try {
                right = work();
            } catch (const std::exception&) {
            }
            ::_exit(right ? 0 : 1);
        }
        int status = -1;
        ::waitpid(child, &status, 0);
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }

    /// What another writer gets.
    std::string said_to_another() {
        try {
            vreid::open_gallery(path(), kSpace, true);
            return "";
        } catch (const vreid::Refused& refused) {
            return refused.what();
        }
    }

    /// The parent is the one writer still, and goes on.
    void expect_one_writer() {
        EXPECT_TRUE(fs::exists(path().string() + ".lock"));
        EXPECT_TRUE(
            in_child([this] { return said_to_another().find("is being written by") != std::string::npos; }));
        enrol("two");
        EXPECT_EQ(vreid::read_gallery(path()).stats().vehicles, 2);
    }

    std::optional<vreid::Gallery> gallery;

 private:
    fs::path folder_;
};

TEST_F(ForkTest, AChildThatClosesLetsNoSecondWriterIn) {
    EXPECT_TRUE(in_child([this] {
        gallery->close();
        return true;
    }));
    expect_one_writer();
}

TEST_F(ForkTest, AChildThatDestroysLetsNoSecondWriterIn) {
    EXPECT_TRUE(in_child([this] {
        gallery.reset();
        return true;
    }));
    expect_one_writer();
}

TEST_F(ForkTest, AChildThatClosesInsideATransactionUndoesNothing) {
    gallery->transaction([this] {
        gallery->add_vehicle("within");
        EXPECT_TRUE(in_child([this] {
            gallery->close();
            return true;
        }));
    });
    EXPECT_EQ(vreid::read_gallery(path()).stats().vehicles, 2);
}

TEST_F(ForkTest, AChildIsRefusedTheInheritedGallery) {
    const auto refused = [](const std::function<void()>& work) {
        try {
            work();
        } catch (const vreid::Refused& refusal) {
            return std::string(refusal.what()).find("which forked this one; open it again here") !=
                   std::string::npos;
        }
        return false;
    };
    EXPECT_TRUE(in_child([&] { return refused([this] { gallery->add_vehicle("no"); }); }));
    EXPECT_TRUE(
        in_child([&] { return refused([this] { static_cast<void>(gallery->search({1, 0, 0, 0}, 1)); }); }));
    expect_one_writer();
}

TEST_F(ForkTest, AChildDoesNotWaitForAThreadOfItsParent) {
    std::promise<void> inside;
    std::promise<void> ended;
    std::thread writer([&] {
        gallery->transaction([&] {
            inside.set_value();
            ended.get_future().wait();
        });
    });
    inside.get_future().wait();
    EXPECT_TRUE(in_child([this] {
        try {
            static_cast<void>(gallery->search({1, 0, 0, 0}, 1));
        } catch (const vreid::Refused&) {
            return true;
        }
        return false;
    }));
    EXPECT_TRUE(in_child([this] {
        gallery->close();
        return true;
    }));
    ended.set_value();
    writer.join();
    expect_one_writer();
}

TEST_F(ForkTest, AModelIsRefusedToAChildWhichMayLetGoOfIt) {
    const fs::path colour = fs::path(VREID_ROOT) / "tests" / "data" / "colour" / "colour.json";
    const cv::Mat crop(9, 9, CV_8UC3, cv::Scalar(10, 20, 30));
    for (const std::string& engine : vreid::engine_names()) {
        if (engine == "tensorrt") continue;
        std::optional<vreid::Embedder> model(vreid::open_embedder(colour, 2, engine));
        const auto before = model->embed({crop});
        EXPECT_TRUE(in_child([&] {
            try {
                static_cast<void>(model->embed({crop}));
            } catch (const vreid::Refused& refused) {
                return std::string(refused.what()).find("which forked this one; open it again here") !=
                       std::string::npos;
            }
            return false;
        })) << engine;
        EXPECT_TRUE(in_child([&] {
            model.reset();
            return true;
        })) << engine;
        EXPECT_TRUE(in_child([&] {
            *model = vreid::open_embedder(colour, 1, engine);
            return model->embed({crop}) == before;
        })) << engine;
        EXPECT_EQ(model->embed({crop}), before) << engine;
    }
}

TEST_F(ForkTest, AfterTheParentHasClosedAChildOfItsOwnMayOpen) {
    gallery->close();
    EXPECT_FALSE(fs::exists(path().string() + ".lock"));
    EXPECT_TRUE(in_child([this] {
        vreid::Gallery own = vreid::open_gallery(path(), kSpace, true);
        own.add_vehicle("child");
        return true;
    }));
    EXPECT_EQ(vreid::read_gallery(path()).stats().vehicles, 2);
}

}  // namespace
