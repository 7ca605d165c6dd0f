// The resize of 8-bit BGR by AVX2: the fixed-point arithmetic of OpenCV's INTER_LINEAR, four pixels at once.
// Distributions build OpenCV for the oldest processors, where it takes up to twice as long.
#include "stretch.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <opencv2/imgproc.hpp>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define VREID_AVX2 __attribute__((target("avx2")))
#endif

namespace vreid {

#ifdef VREID_AVX2
namespace {

/// The two source places that make a place, and their weights in 1 / 2048.
struct Tap {
    int first, second, weight, other;
};

constexpr float ONE = 2048;

/// Source pixels for each pixel; as cv::resize computes it.
double scale_of(int few, int many) { return 1.0 / (static_cast<double>(many) / few); }

/// Place `to` from sources that lie `scale` apart, as cv::resize maps it: in double, then float.
Tap tap_at(int to, double scale) {
    const auto middle = static_cast<float>((to + 0.5) * scale - 0.5);
    const float below = floorf(middle);
    const auto first = static_cast<int>(below);
    const float share = middle - below;
    return {first, first + 1, static_cast<int>(rintf((1.0F - share) * ONE)),
            static_cast<int>(rintf(share * ONE))};
}

/// Of a column, of `few`: beyond the border its one pixel counts whole.
Tap column_tap(int to, int few, double scale) {
    const Tap tap = tap_at(to, scale);
    if (tap.first < 0) return {0, 0, static_cast<int>(ONE), 0};
    if (tap.second >= few) return {few - 1, few - 1, static_cast<int>(ONE), 0};
    return tap;
}

/// Of a row, of `few`: beyond the border the weights stay and the row is repeated.
Tap row_tap(int to, int few, double scale) {
    Tap tap = tap_at(to, scale);
    tap.first = std::max(tap.first, 0);
    tap.second = std::min(tap.second, few - 1);
    return tap;
}

constexpr int AT_ONCE = 4;        // pixels
constexpr int LOAD = 16;          // bytes read at a pixel, of which six are used
constexpr std::size_t WORDS = 4;  // 16-bit words of a pixel between the passes: B G R and one unused

/// What the columns of one picture have in common.
struct Columns {
    std::vector<int> starts, seconds;  // byte offsets of the two sources
    std::vector<std::int32_t>
        weights;  // both, as two 16-bit words, WORDS times a pixel; in the order of loading
    std::vector<std::int16_t> first, other;  // the same for the columns that are made one by one
    int quick = 0;                           // columns that are made four at once
};

VREID_AVX2 void prepare(Columns& columns, int few, int many) {
    const auto count = static_cast<std::size_t>(many);
    columns.starts.resize(count);
    columns.seconds.resize(count);
    columns.first.resize(count);
    columns.other.resize(count);
    columns.weights.resize((count + AT_ONCE - 1) / AT_ONCE * AT_ONCE * WORDS);
    columns.quick = 0;
    const double scale = scale_of(few, many);
    for (int x = 0; x < many; ++x) {
        const Tap tap = column_tap(x, few, scale);
        const auto place = static_cast<std::size_t>(x);
        columns.starts[place] = 3 * tap.first;
        columns.seconds[place] = 3 * tap.second;
        columns.first[place] = static_cast<std::int16_t>(tap.weight);
        columns.other[place] = static_cast<std::int16_t>(tap.other);
        // of four pixels the first and third are made together, then the others: packing leaves them in order
        const std::size_t slot = place / AT_ONCE * AT_ONCE + (place % 2) * 2 + (place % AT_ONCE) / 2;
        std::fill_n(columns.weights.begin() + static_cast<std::ptrdiff_t>(slot * WORDS), WORDS,
                    tap.weight | tap.other * 65536);
        if (3 * tap.first + LOAD <= 3 * few) columns.quick = x + 1;
    }
    columns.quick -= columns.quick % AT_ONCE;
}

/// One source row -> `words`, WORDS for each column: the weighted pixels / 16.
VREID_AVX2 void stretch_columns(const std::uint8_t* source, const Columns& columns, int many,
                                std::int16_t* words) {
    const __m256i pairs = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,  //
                                           0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    const auto two = [&](int low, int high) VREID_AVX2 {
        const __m128i below = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + low));
        const __m128i above = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + high));
        return _mm256_shuffle_epi8(_mm256_inserti128_si256(_mm256_castsi128_si256(below), above, 1), pairs);
    };
    for (int x = 0; x < columns.quick; x += AT_ONCE) {
        const auto place = static_cast<std::size_t>(x);
        const int* start = columns.starts.data() + place;
        const auto* weight = reinterpret_cast<const __m256i*>(columns.weights.data() + place * WORDS);
        const __m256i even =
            _mm256_srai_epi32(_mm256_madd_epi16(two(start[0], start[2]), _mm256_loadu_si256(weight)), 4);
        const __m256i odd =
            _mm256_srai_epi32(_mm256_madd_epi16(two(start[1], start[3]), _mm256_loadu_si256(weight + 1)), 4);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + place * WORDS), _mm256_packs_epi32(even, odd));
    }
    for (auto place = static_cast<std::size_t>(columns.quick); place < static_cast<std::size_t>(many);
         ++place) {
        for (std::size_t channel = 0; channel < 3; ++channel) {
            const int sum =
                source[static_cast<std::size_t>(columns.starts[place]) + channel] * columns.first[place] +
                source[static_cast<std::size_t>(columns.seconds[place]) + channel] * columns.other[place];
            words[place * WORDS + channel] = static_cast<std::int16_t>(sum >> 4);
        }
    }
}

/// Two rows of words -> one row of pixels.
VREID_AVX2 void blend_rows(const std::int16_t* above, const std::int16_t* below, const Tap& tap, int many,
                           std::uint8_t* pixels) {
    const __m128i first = _mm_set1_epi16(static_cast<std::int16_t>(tap.weight));
    const __m128i other = _mm_set1_epi16(static_cast<std::int16_t>(tap.other));
    const __m128i half = _mm_set1_epi16(2);
    const __m128i three = _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1);
    const auto two = [&](std::size_t word) VREID_AVX2 {
        const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(above + word));
        const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(below + word));
        const __m128i sum = _mm_add_epi16(_mm_mulhi_epi16(a, first), _mm_mulhi_epi16(b, other));
        return _mm_srai_epi16(_mm_add_epi16(sum, half), 2);
    };
    int x = 0;
    for (; 3 * x + LOAD <= 3 * many;
         x += AT_ONCE) {  // each writes 16 bytes, and the next begins at the twelfth
        const std::size_t word = static_cast<std::size_t>(x) * WORDS;
        const __m128i four = _mm_shuffle_epi8(_mm_packus_epi16(two(word), two(word + 2 * WORDS)), three);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(pixels + 3 * x), four);
    }
    for (; x < many; ++x) {
        const std::size_t word = static_cast<std::size_t>(x) * WORDS;
        for (std::size_t channel = 0; channel < 3; ++channel) {
            const int sum =
                ((tap.weight * above[word + channel]) >> 16) + ((tap.other * below[word + channel]) >> 16);
            pixels[static_cast<std::size_t>(3 * x) + channel] = static_cast<std::uint8_t>((sum + 2) >> 2);
        }
    }
}

VREID_AVX2 void stretch_by_avx2(const cv::Mat& picture, cv::Mat& row) {
    Columns columns;
    prepare(columns, picture.cols, row.cols);
    const std::size_t length = static_cast<std::size_t>(row.cols) * WORDS;
    std::vector<std::int16_t> words(2 * length);
    std::int16_t* rows[] = {words.data(), words.data() + length};
    int held[] = {-1, -1};  // which source rows they are of: neighbours share them
    const double scale = scale_of(picture.rows, row.rows);
    for (int y = 0; y < row.rows; ++y) {
        const Tap tap = row_tap(y, picture.rows, scale);
        if (held[1] == tap.first || held[0] == tap.second) {
            std::swap(rows[0], rows[1]);
            std::swap(held[0], held[1]);
        }
        const int wanted[] = {tap.first, tap.second};
        for (const int side : {0, 1}) {
            if (held[side] == wanted[side]) continue;
            stretch_columns(picture.ptr(wanted[side]), columns, row.cols, rows[side]);
            held[side] = wanted[side];
        }
        blend_rows(rows[0], rows[1], tap, row.cols, row.ptr(y));
    }
}

}  // namespace

#endif

void stretch(const cv::Mat& picture, cv::Mat& row) {
#ifdef VREID_AVX2
    // halving both sides is another thing to OpenCV, the mean of four
    const bool halved = picture.cols == 2 * row.cols && picture.rows == 2 * row.rows;
    static const bool quick = __builtin_cpu_supports("avx2") != 0;
    if (quick && !halved) {
        stretch_by_avx2(picture, row);
        return;
    }
#endif
    cv::resize(picture, row, row.size(), 0, 0, cv::INTER_LINEAR);
}

}  // namespace vreid
