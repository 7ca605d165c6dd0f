// The filters' arithmetic, in the order of operations of runtime/kalman.py so that both give the same tracks.
#include "kalman.hpp"

#include <algorithm>
#include <cmath>

namespace vreid::watch {
namespace {

Four place_of(const Box& box) {
    const Corners c = corners_of(box);
    return {(c.x1 + c.x2) / 2, (c.y1 + c.y2) / 2, c.x2 - c.x1, c.y2 - c.y1};
}

// The geometric mean of width and height.
double size_of(const Four& place) { return std::sqrt(place[2] * place[3]); }

double squared(double x) { return x * x; }

}  // namespace

Corners Filter::corners() const {
    const double wide = place[2] / 2, tall = place[3] / 2;
    return {place[0] - wide, place[1] - tall, place[0] + wide, place[1] + tall};
}

Filter started(const Box& box) {
    Filter filter;
    filter.place = place_of(box);
    const double size = size_of(filter.place);
    filter.pp.fill(squared(kSight * size));
    filter.vv.fill(squared(kStart * size));
    return filter;
}

Filter predicted(const Filter& filter, double dt) {
    const double push = squared(kPush * size_of(filter.place));
    Filter next = filter;
    for (std::size_t i = 0; i < 4; ++i) {
        next.place[i] = filter.place[i] + filter.speed[i] * dt;
        if (i >= 2 &&
            next.place[i] < filter.place[i] / 2) {  // a size on its way to nothing is noise: hold it
            next.place[i] = filter.place[i];
            next.speed[i] = 0;
        }
        next.pp[i] =
            filter.pp[i] + 2 * dt * filter.pv[i] + dt * dt * filter.vv[i] + push * std::pow(dt, 3) / 3;
        next.pv[i] = filter.pv[i] + dt * filter.vv[i] + push * (dt * dt) / 2;
        next.vv[i] = filter.vv[i] + push * dt;
    }
    return next;
}

double surprise(const Filter& filter, const Box& seen) {
    const Four place = place_of(seen);
    const double sight = squared(kSight * std::max(size_of(filter.place), size_of(place)));
    return squared(place[0] - filter.place[0]) / (filter.pp[0] + sight) +
           squared(place[1] - filter.place[1]) / (filter.pp[1] + sight);
}

Filter corrected(const Filter& filter, const Box& seen) {
    const Four place = place_of(seen);
    const double sight = squared(kSight * size_of(place));
    Filter next = filter;
    for (std::size_t i = 0; i < 4; ++i) {
        const double spread = filter.pp[i] + sight;
        const double gain = filter.pp[i] / spread, push = filter.pv[i] / spread;
        const double gap = place[i] - filter.place[i];
        next.place[i] = filter.place[i] + gain * gap;
        if (i >= 2) next.place[i] = std::max(next.place[i], 1e-3);
        next.speed[i] = filter.speed[i] + push * gap;
        next.pp[i] = (1 - gain) * filter.pp[i];
        next.pv[i] = (1 - gain) * filter.pv[i];
        next.vv[i] = filter.vv[i] - push * filter.pv[i];
    }
    return next;
}

}  // namespace vreid::watch
