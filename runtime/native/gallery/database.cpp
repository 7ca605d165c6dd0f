// SQLite: connecting, binding, reading rows, and what its errors mean to a person
// (runtime/gallery/sqlite/database.py, `sentences`).
#include "database.hpp"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "text.hpp"

namespace vreid::gallery {
namespace {

constexpr int kBusyMs = 1000;

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

/// The classes of error that Python's sqlite3 makes of the codes.
bool is_operational(int code) {
    constexpr int kOnes[] = {SQLITE_ERROR,    SQLITE_PERM,  SQLITE_ABORT, SQLITE_BUSY,     SQLITE_LOCKED,
                             SQLITE_READONLY, SQLITE_IOERR, SQLITE_FULL,  SQLITE_CANTOPEN, SQLITE_INTERRUPT,
                             SQLITE_PROTOCOL, SQLITE_EMPTY, SQLITE_SCHEMA};
    return std::find(std::begin(kOnes), std::end(kOnes), code) != std::end(kOnes);
}

[[noreturn]] void refuse(sqlite3* database, int code, const std::filesystem::path& path) {
    code &= 0xFF;
    if (code ==
        SQLITE_NOMEM) {  // what SQLite says of some damaged files too, whose lengths are beyond all sense
        throw Refused("the gallery " + path.string() +
                      " needs more memory than there is, or is damaged; free some, repair it with "
                      "'vreid gallery check --repair' or restore a copy");
    }
    std::string text = database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(code);
    if (!is_text(text))
        throw damaged(path, "text that is not UTF-8");  // what SQLite says of a damaged file quotes it
    std::replace_if(text.begin(), text.end(), [](char one) { return one == '\n' || one == '\r'; }, ' ');
    const std::string gallery = "the gallery " + path.string();
    if (code == SQLITE_CONSTRAINT || code == SQLITE_MISMATCH) {
        throw Refused(gallery + " does not take this (" + text + "); correct the request");
    }
    if (!is_operational(code)) throw damaged(path, text);
    if (has(text, "locked") || has(text, "busy")) {
        throw Refused(gallery + " is locked by another program; close that program and try again");
    }
    if (has(text, "full")) {
        throw Refused("the disk of " + gallery + " is full; make room and try again");
    }
    throw Refused(gallery + " cannot be used (" + text + "); check its permissions or restore a copy");
}

/// The path as SQLite's URI: whatever could mean something else there is escaped.
std::string uri_of(const std::filesystem::path& path, const char* mode) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    std::string uri = "file://";
    for (const char one : path.string()) {
        const auto byte = static_cast<unsigned char>(one);
        const bool plain = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                           (byte >= 'A' && byte <= 'Z') ||
                           std::string_view("/-._~").find(one) != std::string::npos;
        if (plain) {
            uri += one;
        } else {
            uri += {'%', kDigits[byte >> 4U], kDigits[byte & 0xFU]};
        }
    }
    return uri + "?" + mode;
}

/// A reader that may not write the folder cannot make the log's shared memory; with no log it does not need
/// one.
std::string name_of(const std::filesystem::path& path, bool write) {
    const bool still = !write && ::access(path.parent_path().c_str(), W_OK) != 0 &&
                       !std::filesystem::exists(path.string() + "-wal");
    return uri_of(path, still ? "immutable=1" : "mode=rw");
}

}  // namespace

Refused damaged(const std::filesystem::path& path, const std::string& reason) {
    return Refused(path.string() + " is not a gallery or is damaged (" + reason +
                   "); name another file, repair it with 'vreid gallery check --repair' or restore a copy");
}

Statement::Statement(sqlite3* database, const std::filesystem::path& path, std::string_view sql,
                     const std::vector<Value>& values)
    : database_(database), path_(&path) {
    sqlite3_stmt* made = nullptr;
    const int code = sqlite3_prepare_v2(database, sql.data(), static_cast<int>(sql.size()), &made, nullptr);
    statement_.reset(made);
    if (code != SQLITE_OK) refuse(database_, code, *path_);
    int place = 0;
    for (const Value& value : values) bind(++place, value);
}

bool Statement::next() {
    if (ended_) return false;  // SQLite would begin again
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) refuse(database_, code, *path_);
    ended_ = true;
    return false;
}

bool Statement::is(int column, int type) const {
    return sqlite3_column_type(statement_.get(), column) == type;
}

bool Statement::is_null(int column) const { return is(column, SQLITE_NULL); }

std::int64_t Statement::integer(int column) const {
    expect(is(column, SQLITE_INTEGER));
    return sqlite3_column_int64(statement_.get(), column);
}

double Statement::real(int column) const {
    expect(is(column, SQLITE_FLOAT) || is(column, SQLITE_INTEGER));
    return sqlite3_column_double(statement_.get(), column);
}

std::string Statement::text(int column) const {
    expect(is(column, SQLITE_TEXT));
    const auto* begin = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
    if (begin == nullptr) refuse(database_, SQLITE_NOMEM, *path_);
    std::string found(begin, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column)));
    if (!is_text(found)) {
        const std::string name = sqlite3_column_name(statement_.get(), column);
        throw damaged(*path_, "Could not decode to UTF-8 column '" + name + "'");
    }
    return found;
}

Bytes Statement::bytes(int column) const {
    expect(is(column, SQLITE_BLOB));
    const void* data = sqlite3_column_blob(statement_.get(), column);
    return {data, static_cast<std::size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

std::optional<double> Statement::maybe_real(int column) const {
    return is_null(column) ? std::nullopt : std::optional(real(column));
}

std::optional<std::string> Statement::maybe_text(int column) const {
    return is_null(column) ? std::nullopt : std::optional(text(column));
}

void Statement::bind(int place, const Value& value) {
    sqlite3_stmt* const to = statement_.get();
    int code = SQLITE_OK;
    if (const auto* number = std::get_if<std::int64_t>(&value)) {
        code = sqlite3_bind_int64(to, place, *number);
    } else if (const auto* real = std::get_if<double>(&value)) {
        code = sqlite3_bind_double(to, place, *real);
    } else if (const auto* text = std::get_if<std::string>(&value)) {
        const std::string clean = cleaned(*text);
        code = sqlite3_bind_text64(to, place, clean.data(), clean.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    } else if (const auto* bytes = std::get_if<Bytes>(&value)) {
        code = sqlite3_bind_blob64(to, place, bytes->data, bytes->size, SQLITE_TRANSIENT);
    }  // NULL is what is bound to nothing
    if (code != SQLITE_OK) refuse(database_, code, *path_);
}

void Statement::expect(bool right) const {
    if (!right) throw damaged(*path_, "a row that holds another kind of thing than it should");
}

Database::Database(std::filesystem::path path, const std::string& name, int flags)
    : path_(std::make_unique<std::filesystem::path>(std::move(path))) {
    sqlite3* made = nullptr;
    const int code = sqlite3_open_v2(name.c_str(), &made, flags | SQLITE_OPEN_NOMUTEX, nullptr);
    database_ = std::unique_ptr<sqlite3, Close>(made, Close(::getpid()));
    if (code != SQLITE_OK) refuse(made, code, *path_);
    sqlite3_busy_timeout(made, kBusyMs);
}

Database::Database(std::filesystem::path path, bool write)
    : Database(path, name_of(path, write), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI) {
    run("PRAGMA foreign_keys = ON");
    run(write ? "PRAGMA synchronous = FULL" : "PRAGMA query_only = ON");
    run("PRAGMA secure_delete = ON");  // what is removed is overwritten
}

Database Database::fresh(const std::filesystem::path& temporary, const std::filesystem::path& path) {
    return {path, temporary.string(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE};
}

void Database::Close::operator()(sqlite3* database) const {
    if (::getpid() == owner) sqlite3_close_v2(database);
}

bool Database::is_owner() const { return ::getpid() == database_.get_deleter().owner; }

void Database::refuse_child() const {
    if (!is_owner()) {
        throw Refused("the gallery " + path_->string() + " was opened by process " +
                      std::to_string(database_.get_deleter().owner) +
                      ", which forked this one; open it again here");
    }
}

Statement Database::query(std::string_view sql, const std::vector<Value>& values) const {
    if (!is_open()) throw Refused("the gallery " + path_->string() + " is closed; open it again");
    refuse_child();
    return {database_.get(), *path_, sql, values};
}

void Database::run(std::string_view sql, const std::vector<Value>& values) const {
    Statement statement = query(sql, values);
    while (statement.next()) {
    }
}

void Database::add_function(const char* name,
                            void (*function)(sqlite3_context*, int, sqlite3_value**)) const {
    const int code = sqlite3_create_function_v2(database_.get(), name, 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC,
                                                nullptr, function, nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) refuse(database_.get(), code, *path_);
}

void Database::script(const std::string& sql) const {
    const int code = sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr);
    if (code != SQLITE_OK) refuse(database_.get(), code, *path_);
}

}  // namespace vreid::gallery
