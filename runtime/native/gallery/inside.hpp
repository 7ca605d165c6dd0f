// What an open gallery is made of; whoever uses the library does not see it.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "database.hpp"
#include "index_sync.hpp"
#include "kept.hpp"
#include "lock.hpp"
#include "vreid/gallery.hpp"
#include "writing.hpp"

namespace vreid {

class __attribute__((visibility("hidden"))) Gallery::Inside {
 public:
    /// `held` is the writer's lock; none: for reading.
    Inside(std::unique_ptr<gallery::Database> connection, About whose, const Rule& how,
           std::unique_ptr<gallery::WriterLock> held)
        : about(std::move(whose)),
          rule(how),
          who(gallery::login()),
          writable(held != nullptr),
          lock(std::move(held)),
          database(std::move(connection)),
          index(*database, about.dim) {}

    /// This call's turn. Refused in a forked child before it waits: a thread that is not there may have the
    /// turn.
    [[nodiscard]] std::unique_lock<std::recursive_mutex> turn() const {
        database->refuse_child();
        return std::unique_lock<std::recursive_mutex>(mutex);
    }

    About about;
    Rule rule;
    std::string who;  // is written next to each change: the login name
    bool writable;
    mutable std::recursive_mutex mutex;
    int depth = 0;                              // of transactions
    std::unique_ptr<gallery::WriterLock> lock;  // given back after the database is closed
    std::unique_ptr<gallery::Database> database;
    gallery::IndexSync index;
    gallery::KeptRemovals removals;
};

}  // namespace vreid
