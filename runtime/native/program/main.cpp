// vreid-native: finds the verb, parses its flags, turns errors into sentences.
#include <exception>
#include <iostream>
#include <opencv2/core/utils/logger.hpp>

#include "verbs.hpp"
#include "vreid/errors.hpp"

namespace {

constexpr int DONE = 0;
constexpr int WRONG = 2;  // the request was

constexpr void (*VERBS[])(CLI::App&, int&) = {vreid::program::add_info, vreid::program::add_embed,
                                              vreid::program::add_search, vreid::program::add_bench};

int refused(const std::string& sentence) {
    std::cerr << "vreid-native: " << sentence << '\n';
    return WRONG;
}

}  // namespace

int main(int count, char** words) {
    // what is wrong with a picture or a graph is reported by this program, in one sentence
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_SILENT);
    CLI::App program("vehicle re-identification next to the camera", "vreid-native");
    program.require_subcommand(1);
    program.set_version_flag("--version", "vreid-native " VREID_VERSION);
    int code = DONE;
    for (const auto add : VERBS) add(program, code);
    try {
        program.parse(count, words);
        return code;
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return program.exit(error);  // --help, --version
        return refused(std::string(error.what()) +
                       "; vreid-native --help lists the verbs, VERB --help the flags");
    } catch (const vreid::Refused& error) {
        return refused(error.what());
    } catch (const std::exception& error) {  // a full disk, no memory, a picture that OpenCV cannot take
        return refused(std::string("cannot go on (") + error.what() +
                       "); check the files, their permissions and the memory");
    }
}
