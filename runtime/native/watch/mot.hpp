// MOT text: one box a line, `frame,id,x,y,w,h[,score[,class[,visibility]]]`, as MOTChallenge writes it.
// Mirrors runtime/mot.py.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace vreid::watch {

/// One box; frames count from 1, an id or class of -1 is none, visibility is 0-1.
struct MotRow {
    std::int64_t frame, id;
    int kind;
    float x, y, w, h, score, visibility;
};

/// The rows at `path` in the file's order; score and visibility are 1 where they are missing or -1, class -1.
/// Refused, with file and line number, for a missing file or a line that is not MOT text.
std::vector<MotRow> read_mot(const std::filesystem::path& path);

}  // namespace vreid::watch
