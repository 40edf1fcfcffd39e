// The algorithm's end: steps an environment elsewhere.

#pragma once

#include "search.hpp"

namespace rlay {

struct EnvOptions {
  /// Of the channel, or its address at a bridge: tcp://host:port/name. Empty: RLAY_CHANNEL.
  /// name.* stands for the first free one of name.0, name.1 ...
  std::string name;
  std::string directory;
  double connect_timeout = 30;  // seconds; `forever` without a limit
  double reset_timeout = 300;
  double step_timeout = 60;
  double close_timeout = 5;
  const StopFlag* stop = nullptr;
  uint64_t max_message_bytes = detail::default_max_message_bytes;
  std::string token;
  /// Whether a batch is taken, where the channel carries one.
  bool vector = false;
  std::string autoreset_mode;  // asked of a batch; empty: as it is
  std::string render_mode;     // asked for; empty: as it is
};

/// An environment in another process: what `ClientEnv` is in Python.
///
/// An error of the environment (codes below 0x8000) leaves the session as it is. After a
/// Code::timeout only `reset` and `close` are allowed. After Code::peer_lost,
/// Code::peer_closed and Code::link_down only `close` is of use.
class Env {
 public:
  Env() = default;
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;
  ~Env() { close(); }

  /// Waits for the channel and the greeting.
  Status open(EnvOptions options = {}) {
    close();
    auto name = detail::name_or_default(options.name);
    if (!name) return name.status();
    options_ = std::move(options);
    options_.name = name.value();
    detail::Wishes wishes;
    wishes.vector = options_.vector;
    if (!options_.render_mode.empty()) wishes.render_mode = options_.render_mode;
    if (!options_.autoreset_mode.empty()) wishes.autoreset_mode = options_.autoreset_mode;
    detail::Hello hello;
    hello.paradigm = detail::Paradigm::client_env;
    hello.wishes = wishes.pack();
    hello.capabilities = detail::software_capabilities();
    hello.max_message_bytes = options_.max_message_bytes;
    detail::SearchOptions where;
    where.name = options_.name;
    where.directory = options_.directory;
    where.paradigm = detail::Paradigm::client_env;
    where.group = false;
    where.token = options_.token;
    where.stop = options_.stop;
    detail::Search search;
    search.begin(std::move(where), std::move(hello));
    detail::Deadline deadline(options_.connect_timeout, options_.stop);
    detail::Welcome welcome;
    while (true) {
      const auto areas = [this](const detail::Welcome& said, size_t& request, size_t& reply) {
        return agree(said, request, reply);
      };
      if (Status status = search.look(end_, welcome, areas); !status) return status;
      if (end_) break;
      if (deadline.stopped()) return detail::was_stopped();
      if (deadline.over()) {
        return Status(search.is_busy() ? Code::busy : Code::timeout, search.problem());
      }
      search.rest(deadline.left_ns(detail::look_every_ns));
    }
    requester_ = detail::Requester();
    was_reset_ = false;
    return Status();
  }

  bool is_open() const { return end_ != nullptr; }
  const Space& observation_space() const { return agreement_.observation_space; }
  const Space& action_space() const { return agreement_.action_space; }
  uint32_t num_envs() const { return agreement_.batch.num_envs; }
  bool is_vector() const { return agreement_.batch.vector; }
  const Value& metadata() const { return facts_.metadata; }
  const Value& spec() const { return facts_.spec; }

  Status reset(const ResetRequest& request, First& first) {
    if (Status status = check_open(); !status) return status;
    detail::Deadline deadline(options_.reset_timeout, options_.stop);
    if (Status status = discard_late(deadline); !status) return status;
    detail::Message reply;
    const Status status = ask(
        detail::MessageKind::reset,
        [&](detail::Draft& draft) { return writer_->reset(draft, request); }, reply, deadline);
    if (!status) return status;
    was_reset_ = true;
    return finish(reply, detail::MessageKind::reset_result,
                  [&] { return reader_->reset_result(reply, first); });
  }

  Status step(const Value& action, Transition& transition) {
    if (Status status = check_idle(); !status) return status;
    if (!was_reset_) return Status(Code::reset_needed, "call reset before the first step");
    detail::Deadline deadline(options_.step_timeout, options_.stop);
    detail::Message reply;
    const Status status = ask(
        detail::MessageKind::step,
        [&](detail::Draft& draft) { return writer_->step(draft, action); }, reply, deadline);
    if (!status) return status;
    return finish(reply, detail::MessageKind::transition,
                  [&] { return reader_->transition(reply, transition); });
  }

  Status call(const Call& what, Value& result) {
    if (Status status = check_idle(); !status) return status;
    detail::Deadline deadline(options_.step_timeout, options_.stop);
    detail::Message reply;
    const Status status = ask(
        detail::MessageKind::call,
        [&](detail::Draft& draft) { return writer_->call(draft, what); }, reply, deadline);
    if (!status) return status;
    return finish(reply, detail::MessageKind::call_result,
                  [&] { return detail::ReportReader::call_result(reply, result); });
  }

  /// Says goodbye. Twice is harmless.
  void close() {
    if (!end_) return;
    if (requester_.state() == detail::Requester::State::idle) {
      detail::Deadline deadline(options_.close_timeout);
      detail::Message reply;
      const Status status = ask(
          detail::MessageKind::close,
          [&](detail::Draft& draft) { return writer_->close(draft, Reason::closed); }, reply, deadline);
      if (status) end_->session().take();
    }
    end_->close(Reason::closed);
    end_.reset();
  }

 private:
  Status agree(const detail::Welcome& welcome, size_t& request_area, size_t& reply_area) {
    if (!welcome.environment.is_map()) return detail::protocol_error("a WELCOME tells of no environment");
    facts_ = detail::Facts();
    if (Status status = detail::unpack_facts(welcome.environment, facts_); !status) return status;
    if (facts_.batch.vector && !options_.vector) {
      return Status(Code::num_envs, "the channel carries a batch: set EnvOptions::vector");
    }
    auto agreement =
        detail::Agreement::compile(facts_.observation_space, facts_.action_space, facts_.batch);
    if (!agreement) return agreement.status();
    agreement_ = std::move(agreement.value());
    writer_ = std::make_unique<detail::DecisionWriter>(agreement_);
    reader_ = std::make_unique<detail::ReportReader>(agreement_);
    request_area = agreement_.decisions.bytes;
    reply_area = agreement_.reports.bytes;
    return Status();
  }

  Status check_open() const {
    if (!end_) return Status(Code::misuse, "this environment is not open");
    if (requester_.state() == detail::Requester::State::over) return lost_;
    return Status();
  }
  Status check_idle() const {
    if (Status status = check_open(); !status) return status;
    if (requester_.state() == detail::Requester::State::late) {
      return Status(Code::reset_needed, "the last request was not answered in time: call reset");
    }
    return Status();
  }

  template <class Write>
  Status ask(detail::MessageKind kind, Write&& write, detail::Message& reply, detail::Deadline& deadline) {
    detail::SlotSession& session = end_->session();
    const uint32_t sequence = requester_.begin();
    session.draft(draft_, kind, sequence);
    Status status = write(draft_);
    if (status && draft_.overflow.size() > session.limit_bytes()) {
      status = session.too_large(draft_.overflow.size());
    }
    if (!status) {
      requester_.cancel();
      return status;
    }
    status = session.send(sequence, draft_, deadline);
    if (!status) return lose(std::move(status));  // half a message may be out
    return await(reply, deadline);
  }

  Status await(detail::Message& reply, detail::Deadline& deadline) {
    while (true) {
      Status status = end_->session().receive(reply, deadline);
      if (status.code() == Code::timeout || status.code() == Code::stopped) {
        requester_.abandon();
        return status;
      }
      if (!status) return lose(std::move(status));
      switch (requester_.receive(reply.header.sequence)) {
        case detail::Requester::Outcome::accept: return Status();
        case detail::Requester::Outcome::discard:
          end_->session().take();
          return Status(Code::reset_needed, "the late reply came and was discarded");
        case detail::Requester::Outcome::drop: end_->session().take(); break;
        case detail::Requester::Outcome::breach:
          return lose(detail::protocol_error("a reply came that nobody asked for"));
      }
    }
  }

  Status discard_late(detail::Deadline& deadline) {
    if (requester_.state() != detail::Requester::State::late) return Status();
    detail::Message reply;
    Status status = await(reply, deadline);
    return status.code() == Code::reset_needed ? Status() : status;
  }

  /// Reads a reply of a kind, or the failure in its place, and takes it.
  template <class Read>
  Status finish(const detail::Message& reply, detail::MessageKind kind, Read&& read) {
    Status status = reply.kind() == detail::MessageKind::failure ? detail::ReportReader::failure(reply)
                    : reply.kind() == kind                       ? read()
                                                                 : detail::protocol_error("an unexpected reply came");
    end_->session().take();
    if (status.code() != Code::protocol && status.code() != Code::environment_gone) return status;
    return lose(std::move(status));
  }

  Status lose(Status why) {
    requester_.lose();
    lost_ = why;
    return why;
  }

  EnvOptions options_;
  detail::Facts facts_;
  detail::Agreement agreement_;
  std::shared_ptr<detail::ClientEnd> end_;
  std::unique_ptr<detail::DecisionWriter> writer_;
  std::unique_ptr<detail::ReportReader> reader_;
  detail::Requester requester_;
  detail::Draft draft_;
  Status lost_;
  bool was_reset_ = false;
};

}  // namespace rlay
