// A client's search for its server: a channel that is free, and an answer to HELLO.

#pragma once

#include "delivery.hpp"
#include "environment.hpp"
#include "mapped.hpp"

namespace rlay::detail {

inline bool is_address(const std::string& name) {
  return name.rfind("tcp://", 0) == 0 || name.rfind("tls://", 0) == 0 || name.rfind("ws://", 0) == 0 ||
         name.rfind("wss://", 0) == 0;
}

inline Result<std::string> name_or_default(const std::string& name) {
  if (!name.empty()) return name;
  const char* variable = std::getenv("RLAY_CHANNEL");
  if (variable && *variable) return std::string(variable);
  return Status(Code::misuse, "no channel is named: give a name, or set RLAY_CHANNEL");
}

class DirectClient;

/// Where a client looks, and what for.
struct SearchOptions {
  std::string name;
  std::string directory;
  Paradigm paradigm = Paradigm::server_env;
  /// Whether the members of the group `name.*` count as well where `name` is taken.
  bool group = true;
  std::string token;
  const StopFlag* stop = nullptr;
};

/// Looks for a channel and greets its server, one look at a time, without waiting.
class Search {
 public:
  void begin(SearchOptions options, Hello hello) {
    give_up();
    options_ = std::move(options);
    hello_ = std::move(hello);
    problem_ = "no channel " + quoted(options_.name) + " exists";
  }

  /// Makes as much headway as is possible now. `end` is set once the session is there; an
  /// error is one that another look does not mend.
  ///
  /// `areas`: of requests and replies, for the size of slots; asked for with the WELCOME.
  template <class Areas>
  Status look(std::shared_ptr<ClientEnd>& end, Welcome& welcome, Areas&& areas) {
    if (!end_) {
      if (Status status = open(); !status || !end_) return status;
      Bytes payload;
      if (Status status = encode(hello_, payload); !status) return status;
      incarnation_ = session_ = 0;
      (options_.paradigm == Paradigm::server_env ? incarnation_ : session_) = draw_id();
      end_->begin_hello(payload, incarnation_, session_);
    }
    bool there = false;
    Status status = end_->continue_hello();
    if (status) status = end_->look_for_welcome(welcome, incarnation_, session_, there);
    size_t request_area = 0;
    size_t reply_area = 0;
    if (status && there) status = areas(welcome, request_area, reply_area);
    if (status && there) {
      status = end_->attach(welcome, incarnation_, session_, request_area, reply_area);
      if (status.code() == Code::not_found) status = Status(Code::peer_lost, status.message());
    }
    if (status && there) {
      end = std::move(end_);
      passed_over_.clear();
      return status;
    }
    if (status) {
      problem_ = "the server of channel " + quoted(end_->name()) +
                 " is alive but has not answered yet: a ServerEnv takes games in with reset()";
      return status;
    }
    problem_ = status.message();
    if (status.code() == Code::busy) passed_over_.push_back(end_->name());
    give_up();
    return is_passing(status.code()) ? Status() : status;
  }

  /// Waits a while before the next look; less where an answer comes.
  void rest(int64_t duration_ns);
  /// What is in the way, for messages.
  const std::string& problem() const { return problem_; }
  /// Whether the channel is there and somebody else is attached.
  bool is_busy() const { return busy_; }
  void give_up() {
    end_.reset();
    direct_.reset();
  }

 private:
  static bool is_passing(Code code) {
    return code == Code::busy || code == Code::peer_lost || code == Code::peer_closed ||
           code == Code::link_down || code == Code::draining || code == Code::not_found;
  }
  static Status other_paradigm(const std::string& name, Paradigm paradigm) {
    return Status(Code::unsupported,
                  paradigm == Paradigm::client_env
                      ? "channel " + quoted(name) + " was made by a backend, which holds an environment: "
                            "attach a ClientEnv to it, or make a ServerEnv"
                      : "channel " + quoted(name) + " was made by a ServerEnv, which waits for a game: "
                            "attach a game to it, or serve an environment");
  }
  Status open();
  Status open_address();
#if RLAY_MAPPED_FILES
  Status open_mapped_channel() {
    std::vector<std::string> names;
    const bool members_only = options_.name.size() > 2 && options_.name.substr(options_.name.size() - 2) == ".*";
    const std::string base = members_only ? options_.name.substr(0, options_.name.size() - 2) : options_.name;
    if (Status status = check_channel_name(base); !status) return status;
    if (!members_only) names.push_back(base);
    if (members_only || options_.group) {
      if (auto directory = open_directory(options_.directory, false)) {
        for (std::string& name : group_members(directory.value(), base)) names.push_back(std::move(name));
      }
    }
    const std::vector<std::string> passed_over = std::move(passed_over_);
    passed_over_.clear();
    std::string busy;
    for (const std::string& name : names) {
      if (std::find(passed_over.begin(), passed_over.end(), name) != passed_over.end()) continue;
      Paradigm paradigm = options_.paradigm;
      auto client = std::make_shared<MappedClient>();
      Status status = client->open(name, options_.directory, paradigm);
      if (status && paradigm != options_.paradigm) {
        return other_paradigm(name, paradigm);
      }
      if (status) {
        end_ = std::move(client);
        return Status();
      }
      if (status.code() == Code::busy) busy = status.message();
      if (!is_passing(status.code())) return status;
    }
    busy_ = !busy.empty();
    problem_ = busy.empty() ? "no channel " + quoted(options_.name) + " exists" : busy;
    return Status();
  }
#endif

  SearchOptions options_;
  Hello hello_;
  std::shared_ptr<ClientEnd> end_;
  std::shared_ptr<DirectClient> direct_;  // as long as it looks for its channel
  bool busy_ = false;
  uint64_t incarnation_ = 0;
  uint64_t session_ = 0;
  std::vector<std::string> passed_over_;
  std::string problem_;
};

inline constexpr int64_t look_every_ns = 20000000;

}  // namespace rlay::detail
