// cv::resize with INTER_LINEAR for pictures in BGR of 8 bits: equal to the bit, quicker where there is AVX2.
#pragma once

#include <opencv2/core.hpp>

namespace vreid {

/// `picture` stretched into `row`, whose memory stays where it is.
void stretch(const cv::Mat& picture, cv::Mat& row);

}  // namespace vreid
