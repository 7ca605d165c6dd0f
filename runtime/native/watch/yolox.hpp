// YOLOX's pictures and rows: letterboxes and tiles in, boxes out. Mirrors runtime/detectors/yolox.py.
//
// Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv 2107.08430, section 2.1 (decoupled, anchor-free
// head; grids of stride 8, 16 and 32). The graph's output is not decoded: (N, rows, 85): dx dy log-w log-h
// objectness, 80 COCO classes.
#pragma once

#include <array>
#include <cstddef>
#include <opencv2/core.hpp>
#include <vector>

#include "vreid/records.hpp"

namespace vreid::watch {

constexpr std::size_t kColumns = 85;

/// A part of a picture for the network, and which of its sides (`inner`) cut through the picture.
struct View {
    int left, top, right, bottom;
    std::array<bool, 4> inner{};  // left, top, right, bottom
};

/// A cell of the output's grids.
struct Cell {
    float x, y, stride;
};

/// The whole picture, then tiles x tiles parts of it that overlap by a quarter of their side; 1: the whole
/// alone.
std::vector<View> views_of(cv::Size picture, int tiles);

/// BGR -> (3, height, width) float32 0..255 at `planes`, the picture at the top left, grey around; returns
/// its scale.
double letterboxed(const cv::Mat& image, cv::Size letter, float* planes);

/// The cell of every output row, stride by stride, row-major.
std::vector<Cell> grid_of(cv::Size letter);

/// `grid.size()` rows of kColumns -> vehicles in letterbox pixels, not yet suppressed; score = objectness x
/// class.
Detections decoded(const float* rows, const std::vector<Cell>& grid, double min_score);

/// Detections in a view's letterbox -> in pixels of the picture, clipped to the view. Those cut off by its
/// inner sides are left out: a neighbour or the whole picture shows these vehicles whole.
Detections placed(const Detections& found, const View& view, double scale);

}  // namespace vreid::watch
