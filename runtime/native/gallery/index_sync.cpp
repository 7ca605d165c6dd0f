// Filling an index from the file and catching it up, step by step as runtime/gallery/index/sync.py.
#include "index_sync.hpp"

#include <faiss/utils/distances.h>

#include <algorithm>
#include <unordered_map>

#include "names.hpp"
#include "prototypes.hpp"

namespace vreid::gallery {
namespace {

constexpr std::size_t kChunk = 1 << 13;  // prototypes at a time: 16 MB of 512-d features

}  // namespace

std::vector<std::vector<Found>> IndexSync::search(const std::vector<float>& features, std::int64_t k,
                                                  const std::optional<Ids>& vehicles) {
    return caught_up().search(features, k, vehicles);
}

std::vector<float> IndexSync::scores(const std::vector<float>& features, const Ids& vehicles) const {
    const auto dim = static_cast<std::size_t>(dim_);
    const std::size_t count = features.size() / dim;
    std::unordered_map<std::int64_t, std::size_t> column_of;
    for (const std::int64_t vehicle : vehicles) column_of.try_emplace(vehicle, column_of.size());
    std::vector<float> best(count * column_of.size(), -1.0F);
    Statement rows = database_->query(
        "SELECT id, vehicle, feature FROM prototypes WHERE vehicle IN (SELECT value FROM json_each(?))",
        {json_of(vehicles)});
    Chunk chunk;
    while (read(rows, chunk)) {
        for (std::size_t at = 0; at < chunk.prototypes.size(); ++at) {
            const std::size_t column = column_of.at(chunk.vehicles[at]);
            for (std::size_t row = 0; row < count; ++row) {
                float& cell = best[row * column_of.size() + column];
                cell = std::max(cell, faiss::fvec_inner_product(features.data() + row * dim,
                                                                chunk.features.data() + at * dim, dim));
            }
        }
    }
    std::vector<float> ordered;
    ordered.reserve(count * vehicles.size());
    for (std::size_t row = 0; row < count; ++row) {
        for (const std::int64_t vehicle : vehicles) {
            ordered.push_back(best[row * column_of.size() + column_of.at(vehicle)]);
        }
    }
    return ordered;
}

void IndexSync::committed() {
    open_.clear();
    floor_ = 0;
}

void IndexSync::rolled_back() {
    std::unique_ptr<FlatIndex> index =
        std::move(index_);  // of no use, should the file not be read or lie further back
    const std::int64_t end = last();
    if (end < floor_) return;
    index_ = std::move(index);
    if (end < seen_) {
        const auto gone = std::partition(open_.begin(), open_.end(),
                                         [end](const auto& change) { return change.first <= end; });
        for (auto change = gone; change != open_.end(); ++change) again_.insert(change->second);
        open_.erase(gone, open_.end());
        seen_ = end;
    }
}

FlatIndex& IndexSync::caught_up() {
    if (index_ == nullptr) {
        fill();
    } else if (again_.empty() && last() == seen_) {
        return *index_;
    }
    std::unique_ptr<FlatIndex> index = std::move(index_);  // comes back complete or not at all
    if (catch_up(*index)) {
        index_ = std::move(index);
    } else {
        fill();
    }
    return *index_;
}

/// Whether the log goes back far enough; prototypes are read after it, so they are never older than it says.
bool IndexSync::catch_up(FlatIndex& index) {
    const std::int64_t end = last();
    std::vector<std::pair<std::int64_t, std::int64_t>> log;
    {
        Statement rows =
            database_->query("SELECT id, prototype FROM changes WHERE id > ? AND id <= ?", {seen_, end});
        while (rows.next()) log.emplace_back(rows.integer(0), rows.integer(1));
    }
    const auto passed = static_cast<std::uint64_t>(end) - static_cast<std::uint64_t>(seen_);
    if (end < seen_ || log.size() != passed) return false;
    if (database_->in_transaction()) open_.insert(open_.end(), log.begin(), log.end());
    for (const auto& change : log) again_.insert(change.second);
    const Ids changed(again_.begin(), again_.end());
    for (std::size_t start = 0; start < changed.size(); start += kChunk) {
        const auto begin = changed.begin() + static_cast<std::ptrdiff_t>(start);
        const auto stop = begin + static_cast<std::ptrdiff_t>(std::min(kChunk, changed.size() - start));
        const Ids wanted(begin, stop);
        Statement rows = database_->query(
            "SELECT id, vehicle, feature FROM prototypes WHERE id IN (SELECT value FROM json_each(?))"
            " ORDER BY id",
            {json_of(wanted)});
        Chunk chunk;
        read(rows, chunk);
        Ids gone;
        std::set_difference(wanted.begin(), wanted.end(), chunk.prototypes.begin(), chunk.prototypes.end(),
                            std::back_inserter(gone));
        index.remove(gone);
        index.add(chunk.prototypes, chunk.vehicles, chunk.features);
    }
    seen_ = end;
    again_.clear();
    return true;
}

void IndexSync::fill() {
    seen_ = last();
    again_.clear();
    open_.clear();
    floor_ = database_->in_transaction() ? seen_ : 0;
    std::size_t expected = 0;
    {
        Statement count = database_->query("SELECT count(*) FROM prototypes");
        if (count.next()) expected = static_cast<std::size_t>(count.integer(0));
    }
    Statement rows = database_->query("SELECT id, vehicle, feature FROM prototypes ORDER BY id");
    Chunk chunk;
    bool more = read(rows, chunk);  // first: room is made for features of a length that was seen
    auto index = std::make_unique<FlatIndex>(dim_, expected);
    for (; more; more = read(rows, chunk)) index->add(chunk.prototypes, chunk.vehicles, chunk.features);
    index_ = std::move(index);
}

std::int64_t IndexSync::last() const {
    Statement row = database_->query("SELECT seq FROM sqlite_sequence WHERE name = 'changes'");
    return row.next() ? row.integer(0) : 0;
}

/// The next rows of id, vehicle and feature, in place of what `chunk` held; false when there are none.
bool IndexSync::read(Statement& rows, Chunk& chunk) const {
    const auto dim = static_cast<std::size_t>(dim_);
    chunk.prototypes.clear();
    chunk.vehicles.clear();
    chunk.features.clear();
    while (chunk.prototypes.size() < kChunk && rows.next()) {
        chunk.prototypes.push_back(rows.integer(0));
        chunk.vehicles.push_back(rows.integer(1));
        chunk.features.resize(chunk.features.size() + dim);
        copy_feature(rows.bytes(2), dim_, chunk.features.data() + chunk.features.size() - dim);
    }
    return !chunk.prototypes.empty();
}

}  // namespace vreid::gallery
