// The index follows the gallery's file: filled from it once, then caught up by its log of changed prototypes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "database.hpp"
#include "flat.hpp"

namespace vreid::gallery {

/// Searches a gallery's prototypes as its connection sees them, whoever has written; one thread at a time.
class IndexSync {
 public:
    IndexSync(const Database& database, int dim) : database_(&database), dim_(dim) {}

    /// Unit features (n, dim) -> see `FlatIndex::search`.
    std::vector<std::vector<Found>> search(const std::vector<float>& features, std::int64_t k,
                                           const std::optional<Ids>& vehicles);

    /// Unit features (n, dim) -> (n, vehicles) of the best cosine over each one's prototypes; -1 without any.
    [[nodiscard]] std::vector<float> scores(const std::vector<float>& features, const Ids& vehicles) const;

    /// What was written is kept: to be called after COMMIT.
    void committed();

    /// The file went back, to be called after ROLLBACK: the ids of the changes that went come again with
    /// other ones.
    void rolled_back();

    void close() { index_.reset(); }

 private:
    struct Chunk {
        Ids prototypes, vehicles;
        std::vector<float> features;
    };

    FlatIndex& caught_up();
    bool catch_up(FlatIndex& index);
    void fill();
    [[nodiscard]] std::int64_t last() const;
    bool read(Statement& rows, Chunk& chunk) const;

    const Database* database_;
    int dim_;
    std::unique_ptr<FlatIndex> index_;
    std::int64_t seen_ = 0;  // the last change that is in the index
    // Of the transaction that is open: changes (their id, the prototype) that a rollback undoes, and the
    // first that it is too late to undo.
    std::vector<std::pair<std::int64_t, std::int64_t>> open_;
    std::int64_t floor_ = 0;
    std::set<std::int64_t> again_;  // prototypes to be read anew after a rollback
};

}  // namespace vreid::gallery
