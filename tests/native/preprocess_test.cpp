// Preprocessing: cutting as Python cuts, and every way to resize equal to cv::resize to the bit.
#include "vreid/preprocess.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <opencv2/imgproc.hpp>
#include <random>

#include "core/stretch.hpp"
#include "vreid/errors.hpp"

namespace {

using vreid::Box;

cv::Mat noise(int height, int width, int type, unsigned seed) {
    cv::Mat picture(height, width, type);
    cv::RNG random(seed);
    random.fill(picture, cv::RNG::UNIFORM, 0, 256);
    return picture;
}

bool same(const cv::Mat& a, const cv::Mat& b) {
    return a.size() == b.size() && cv::norm(a, b, cv::NORM_INF) == 0;
}

cv::Mat plainly(const cv::Mat& picture, int height, int width) {
    cv::Mat row;
    cv::resize(picture, row, {width, height}, 0, 0, cv::INTER_LINEAR);
    return row;
}

/// Sizes of a source and of what it is stretched to: tiny, odd, halved, doubled, equal in one side, and
/// random ones.
std::vector<std::array<int, 4>> sizes() {
    std::vector<std::array<int, 4>> found{{1, 1, 128, 128},      {1, 7, 128, 64},      {7, 1, 64, 128},
                                          {2, 2, 1, 1},          {256, 256, 128, 128}, {64, 64, 128, 128},
                                          {128, 300, 128, 128},  {300, 128, 128, 128}, {200, 100, 100, 200},
                                          {256, 200, 128, 100},  {5, 5, 3, 3},         {9, 3, 4, 2},
                                          {1080, 1920, 256, 256}};
    std::mt19937 random(1);
    for (int turn = 0; turn < 300; ++turn) {
        const auto side = [&random](int most) {
            return 1 + static_cast<int>(random() % static_cast<unsigned>(most));
        };
        found.push_back({side(300), side(300), side(160), side(160)});
    }
    return found;
}

TEST(Stretch, IsOpenCvsResizeToTheBit) {
    for (const auto& [height, width, to_height, to_width] : sizes()) {
        // a view within a picture, whose rows are not next to each other
        const cv::Mat whole = noise(height + 2, width + 2, CV_8UC3, 7);
        const cv::Mat picture = whole(cv::Rect(1, 1, width, height));
        cv::Mat row(to_height, to_width, CV_8UC3);
        vreid::stretch(picture, row);
        ASSERT_TRUE(same(row, plainly(picture, to_height, to_width)))
            << height << " x " << width << " to " << to_height << " x " << to_width;
    }
}

class Nv12Test : public testing::Test {
 protected:
    Nv12Test() { cv::cvtColorTwoPlane(planes_.luma, planes_.chroma, converted_, cv::COLOR_YUV2BGR_NV12); }

    vreid::Nv12 planes_{noise(180, 320, CV_8UC1, 3), noise(90, 160, CV_8UC2, 4)};
    cv::Mat converted_;
};

std::vector<Box> boxes() {
    return {{10.2F, 20.7F, 60.1F, 70.9F},
            {-5, -5, 20, 20},
            {300, 150, 400, 300},
            {0, 0, 320, 180},
            {31, 33, 32, 34},
            {50, 50, 50, 50},
            {700, 500, 900, 600},
            {-90, -80, -20, -10}};
}

TEST(Batch, OfBoxesIsOfTheirCuts) {
    const cv::Mat frame = noise(180, 320, CV_8UC3, 5);
    std::vector<cv::Mat> crops;
    for (const Box& box : boxes()) crops.push_back(vreid::cut_out(frame, box, 0.1F));
    for (const int threads : {1, 2, 4}) {
        std::vector<std::uint8_t> one(boxes().size() * 64 * 96 * 3);
        std::vector<std::uint8_t> other(one.size(), 1);
        vreid::batch_of(crops, 64, 96, one.data());
        vreid::batch_of_boxes(frame, boxes(), 0.1F, 64, 96, other.data(), threads);
        EXPECT_EQ(one, other);
    }
}

TEST_F(Nv12Test, BatchOfBoxesIsOfTheConvertedFrame) {
    std::vector<std::uint8_t> one(boxes().size() * 64 * 96 * 3);
    std::vector<std::uint8_t> other(one.size(), 1);
    vreid::batch_of_boxes(converted_, boxes(), 0, 64, 96, one.data());
    vreid::batch_of_boxes(planes_, boxes(), 0, 64, 96, other.data(), 2);
    EXPECT_EQ(one, other);
}

TEST(Batch, PicturesOfItsSizeAreCopied) {
    const cv::Mat picture = noise(16, 24, CV_8UC3, 6);
    std::vector<std::uint8_t> pixels(16 * 24 * 3);
    vreid::batch_of({picture}, 16, 24, pixels.data());
    EXPECT_TRUE(std::equal(pixels.begin(), pixels.end(), picture.datastart));
}

TEST(Cut, IsNeverEmptyAndInsideThePicture) {
    for (const Box& box : boxes()) {
        const cv::Rect found = vreid::pixels_of(box, {320, 180});
        EXPECT_EQ(found & cv::Rect(0, 0, 320, 180), found);
        EXPECT_GT(found.area(), 0);
    }
    EXPECT_EQ(vreid::pixels_of({10.2F, 20.7F, 60.1F, 70.9F}, {320, 180}), cv::Rect(10, 20, 51, 51));
}

TEST(Cut, RefusesBoxesThatAreNotFiniteAndEmptyPictures) {
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    constexpr float inf = std::numeric_limits<float>::infinity();
    constexpr float huge = std::numeric_limits<float>::max();
    const cv::Mat frame = noise(48, 64, CV_8UC3, 9);
    const vreid::Nv12 planes{noise(48, 64, CV_8UC1, 1), noise(24, 32, CV_8UC2, 2)};
    std::vector<std::uint8_t> pixels(2 * 3 * 4 * 4, 7);
    for (const float bad : {nan, inf, -inf}) {
        for (int side = 0; side < 4; ++side) {
            float sides[] = {1, 2, 30, 40};
            sides[side] = bad;
            const Box box{sides[0], sides[1], sides[2], sides[3]};
            EXPECT_THROW(vreid::pixels_of(box, frame.size()), vreid::Refused);
            EXPECT_THROW(vreid::cut_out(frame, box), vreid::Refused);
            for (const int threads : {1, 2}) {
                EXPECT_THROW(
                    vreid::batch_of_boxes(frame, {{1, 2, 3, 4}, box}, 0, 4, 4, pixels.data(), threads),
                    vreid::Refused);
                EXPECT_THROW(
                    vreid::batch_of_boxes(planes, {{1, 2, 3, 4}, box}, 0, 4, 4, pixels.data(), threads),
                    vreid::Refused);
            }
        }
        EXPECT_THROW(vreid::pixels_of({1, 2, 3, 4}, frame.size(), bad), vreid::Refused);
    }
    EXPECT_THROW(vreid::pixels_of({-huge, 0, huge, 1}, frame.size()),
                 vreid::Refused);                                    // its width is infinite
    EXPECT_EQ(pixels, std::vector<std::uint8_t>(pixels.size(), 7));  // nothing was written
    EXPECT_EQ(vreid::pixels_of({-1e9F, -5, 1e9F, 1e20F}, frame.size(), 0.1F), cv::Rect(0, 0, 64, 48));
    EXPECT_EQ(vreid::pixels_of({30, 40, 10, 20}, frame.size()).area(), 1);  // left and right swapped
    for (const cv::Size size : {cv::Size(0, 0), cv::Size(0, 5), cv::Size(5, 0), cv::Size(-1, -1)})
        EXPECT_THROW(vreid::pixels_of({0, 0, 1, 1}, size), vreid::Refused);
    EXPECT_THROW(vreid::cut_out(cv::Mat(), {0, 0, 1, 1}), vreid::Refused);
    EXPECT_THROW(vreid::cut_out(cv::Mat(3, std::vector<int>{2, 4, 4}.data(), CV_8UC3), {0, 0, 1, 1}),
                 vreid::Refused);
    EXPECT_THROW(vreid::batch_of_boxes(cv::Mat(), {{0, 0, 1, 1}}, 0, 4, 4, pixels.data()), vreid::Refused);
    EXPECT_THROW(vreid::batch_of_boxes(vreid::Nv12{}, {{0, 0, 1, 1}}, 0, 4, 4, pixels.data()),
                 vreid::Refused);
}

TEST(Batch, RefusesWhatIsNoPicture) {
    std::vector<std::uint8_t> pixels(3 * 4 * 4);
    EXPECT_THROW(vreid::batch_of({cv::Mat()}, 4, 4, pixels.data()), vreid::Refused);
    EXPECT_THROW(
        vreid::batch_of({cv::Mat(3, std::vector<int>{2, 4, 4}.data(), CV_8UC3)}, 4, 4, pixels.data()),
        vreid::Refused);
    EXPECT_THROW(vreid::batch_of({noise(9, 9, CV_16UC3, 0)}, 4, 4, pixels.data()), vreid::Refused);
    EXPECT_THROW(vreid::batch_of({noise(9, 9, CV_8UC4, 0)}, 4, 4, pixels.data()), vreid::Refused);
    EXPECT_THROW(vreid::batch_of({noise(9, 9, CV_8UC1, 0)}, 4, 4, pixels.data()), vreid::Refused);
    const vreid::Nv12 odd{noise(9, 9, CV_8UC1, 0), noise(4, 4, CV_8UC2, 0)};
    EXPECT_THROW(vreid::batch_of_boxes(odd, {{0, 0, 4, 4}}, 0, 4, 4, pixels.data()), vreid::Refused);
}

}  // namespace
