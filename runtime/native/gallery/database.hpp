// One connection to a gallery's SQLite file, whose errors are sentences.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "vreid/errors.hpp"

namespace vreid::gallery {

/// Bytes that outlive the call which they are passed to.
struct Bytes {
    const void* data = nullptr;
    std::size_t size = 0;
};

/// What is bound to a statement; text that is not UTF-8 is cleaned first.
using Value = std::variant<std::nullptr_t, std::int64_t, double, std::string, Bytes>;

template <typename T>
Value value_of(const std::optional<T>& value) {
    return value ? Value(*value) : Value(nullptr);
}

/// The error for a file that cannot be read.
Refused damaged(const std::filesystem::path& path, const std::string& reason);

/// A statement that is being carried out; `next` goes from row to row.
class Statement {
 public:
    Statement(sqlite3* database, const std::filesystem::path& path, std::string_view sql,
              const std::vector<Value>& values);

    /// Whether there is another row; false for ever once there is none.
    bool next();

    [[nodiscard]] bool is_null(int column) const;
    [[nodiscard]] std::int64_t integer(int column) const;
    [[nodiscard]] double real(int column) const;
    [[nodiscard]] std::string text(int column) const;
    [[nodiscard]] Bytes bytes(int column) const;  // valid until the next row
    [[nodiscard]] std::optional<double> maybe_real(int column) const;
    [[nodiscard]] std::optional<std::string> maybe_text(int column) const;

 private:
    struct Finalize {
        void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
    };

    [[nodiscard]] bool is(int column, int type) const;
    void bind(int place, const Value& value);
    void expect(bool right) const;

    sqlite3* database_;
    const std::filesystem::path* path_;
    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
    bool ended_ = false;
};

/// An open connection to the existing database at an absolute path. The file is never opened by anything but
/// SQLite: closing such a handle would drop this process's SQLite locks (POSIX).
class Database {
 public:
    Database(std::filesystem::path path, bool write);

    /// A new and empty one in the file `temporary`, which is to become `path`.
    static Database fresh(const std::filesystem::path& temporary, const std::filesystem::path& path);

    /// A statement and its rows; the first one is read by `next`.
    [[nodiscard]] Statement query(std::string_view sql, const std::vector<Value>& values = {}) const;

    /// A statement, carried out to its end.
    void run(std::string_view sql, const std::vector<Value>& values = {}) const;

    /// A function of one value that statements may call by `name`.
    void add_function(const char* name, void (*function)(sqlite3_context*, int, sqlite3_value**)) const;

    /// Whether this process opened it; false in a child that it has forked.
    [[nodiscard]] bool is_owner() const;

    /// Refused in a child that was forked after this was opened: SQLite's connections do not survive a fork.
    void refuse_child() const;

    /// Several statements.
    void script(const std::string& sql) const;

    [[nodiscard]] std::int64_t last_id() const { return sqlite3_last_insert_rowid(database_.get()); }
    [[nodiscard]] bool in_transaction() const { return sqlite3_get_autocommit(database_.get()) == 0; }
    [[nodiscard]] const std::filesystem::path& path() const { return *path_; }

    /// Let go of the file; no statement may be left.
    void close() { database_.reset(); }
    [[nodiscard]] bool is_open() const { return database_ != nullptr; }

 private:
    struct Close {
        int owner;

        explicit Close(int process) : owner(process) {}
        Close() : Close(0) {}

        /// A forked child lets the parent's connection be: SQLite may not even close it there.
        void operator()(sqlite3* database) const;
    };

    Database(std::filesystem::path path, const std::string& name, int flags);

    std::unique_ptr<std::filesystem::path>
        path_;  // its place stays when this is moved: statements hold on to it
    std::unique_ptr<sqlite3, Close> database_;
};

}  // namespace vreid::gallery
