// A game that owns its loop and asks for decisions: the other end of a ServerEnv.

#pragma once

#include "search.hpp"

namespace rlay {

struct BackendOptions {
  /// Of the channel, or its address at a bridge: tcp://host:port/name. Empty: RLAY_CHANNEL.
  /// Where it has a game already, the first free one of name.0, name.1 ... is taken.
  std::string name;
  /// Where channels live; empty: RLAY_DIR or the default.
  std::string directory;
  /// Seconds that `open` waits for the trainer; 0 looks once and returns, connected or not;
  /// `forever` waits without a limit.
  double connect_timeout = 30;
  /// Ends every wait within 0.1 s where it is set, from a signal handler too.
  const StopFlag* stop = nullptr;
  /// Larger messages are refused.
  uint64_t max_message_bytes = detail::default_max_message_bytes;
  /// For an address: the token of its bridge; empty: the file of RLAY_TOKEN_FILE, if set.
  std::string token;
};

/// What the trainer decided.
struct Decision {
  enum class Kind : uint8_t { none, reset, action, close };

  Kind kind = Kind::none;
  Value action;
  /// In a batch: nil, or an array of bool of those who reset now and ignore their action.
  Value reset_mask;
  ResetRequest reset;
  /// Of a Close: closed, draining, or vanished where the trainer was lost.
  Reason reason = Reason::none;

  bool is_none() const { return kind == Kind::none; }
  bool is_reset() const { return kind == Kind::reset; }
  bool is_action() const { return kind == Kind::action; }
  bool is_close() const { return kind == Kind::close; }
};

/// Asks a `ServerEnv` for decisions.
///
///     IDLE     decide(decision)               -> Reset | Close            nothing is loaded yet
///     RESET    decide(First, decision)        -> Action | Reset | Close   no tick has run
///     RUN      decide(Transition, decision)   -> Action | Reset | Close   after each action;
///                                                never Action where a flag is set
///     any      Close                          -> IDLE; the next decide waits for a trainer
///
/// Call it at each decision point, and at once when an episode ends. `report` and `poll`
/// are its twin that does not block. There is no time-out: a trainer may compute for
/// minutes; a wait ends when it is gone.
class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  ~Backend() { close(); }

  /// Says what the game is, and looks for its trainer.
  ///
  /// Code::timeout: there is none yet; the backend is open all the same, and the next
  /// `decide` or `poll` goes on looking. With `connect_timeout` 0 that is no error.
  Status open(EnvironmentFacts facts, BackendOptions options = {}) {
    close();
    auto name = detail::name_or_default(options.name);
    if (!name) return name.status();
    if (Status status = detail::check_facts(facts); !status) return status;
    facts_ = std::move(facts);
    options_ = std::move(options);
    options_.name = name.value();
    const detail::Facts packed = detail::pack_facts(facts_, false);
    auto map = packed.pack();
    if (!map) return map.status();
    auto agreement = detail::Agreement::compile(packed.observation_space, packed.action_space, packed.batch);
    if (!agreement) return agreement.status();
    agreement_ = std::move(agreement.value());
    hello_ = detail::Hello();
    hello_.paradigm = detail::Paradigm::server_env;
    hello_.environment = map.value();
    hello_.capabilities = detail::software_capabilities();
    hello_.max_message_bytes = options_.max_message_bytes;
    open_ = true;
    begin_search();
    if (Status status = connect(options_.connect_timeout); !status) {
      close();
      return status;
    }
    if (connected() || options_.connect_timeout == 0) return Status();
    return detail::timed_out(search_.problem() + ": start its trainer with rlay.ServerEnv(" +
                             detail::quoted(options_.name) + ") and the same RLAY_DIR");
  }

  bool is_open() const { return open_; }
  /// Whether a trainer has taken this game in.
  bool connected() const { return end_ != nullptr; }

  // ------------------------------------------------------------------- that block

  /// At first and after a Close: waits for the next trainer, and what it says.
  Status decide(Decision& decision) {
    if (Status status = report(); !status) return status;
    return poll(decision, forever);
  }
  /// After a Reset: the first observation of the episode.
  Status decide(const First& first, Decision& decision) {
    if (Status status = report(first); !status) return status;
    return poll(decision, forever);
  }
  /// After an Action: what it led to.
  Status decide(const Transition& transition, Decision& decision) {
    if (Status status = report(transition); !status) return status;
    return poll(decision, forever);
  }

  // ----------------------------------------------------------- that do not block

  Status report() {
    if (Status status = check_usable(); !status) return status;
    if (phase_ != Phase::idle && phase_ != Phase::unconnected) {
      return Status(Code::misuse, "an observation must be reported here");
    }
    if (!end_) return Status();
    return send([this] { return begin(detail::MessageKind::ready), writer_->ready(draft_); });
  }
  Status report(const First& first) {
    if (Status status = check_phase(Phase::resetting, "the first observation follows a Reset"); !status) {
      return status;
    }
    return send([&] { return begin(detail::MessageKind::reset_result), writer_->reset_result(draft_, first); });
  }
  Status report(const Transition& transition) {
    if (Status status = check_phase(Phase::running, "a transition follows an Action"); !status) {
      return status;
    }
    const bool ends = !agreement_.batch.vector &&
                      (transition.terminated.boolean() || transition.truncated.boolean());
    Status status =
        send([&] { return begin(detail::MessageKind::transition), writer_->transition(draft_, transition); });
    if (status) ended_ = ends;
    return status;
  }
  /// In place of a report: what went wrong in a reset or an action. The trainer's call
  /// raises it; a Reset, a call or a Close follows.
  Status report_failure(const Status& why) {
    if (Status status = check_usable(); !status) return status;
    if (phase_ != Phase::resetting && phase_ != Phase::running) {
      return Status(Code::misuse, "a failure answers a Reset or an Action");
    }
    Status status = send([&] {
      return begin(detail::MessageKind::failure), writer_->failure(draft_, detail::as_failure(why));
    });
    if (status) ended_ = true;
    return status;
  }

  /// The decision upon the last report; of kind none where there is none yet.
  ///
  /// `timeout`: seconds; 0 looks once, `forever` waits for as long as the trainer lives.
  /// What the trainer calls (render, methods, attributes) is answered here.
  Status poll(Decision& decision, double timeout = 0) {
    decision.kind = Decision::Kind::none;
    if (Status status = check_usable(); !status) return status;
    if (!end_) {
      if (Status status = connect(timeout); !status) return status;
      if (!end_) return Status();
    }
    if (requester_.state() == detail::Requester::State::idle) {
      if (phase_ != Phase::idle) return Status(Code::misuse, "nothing was reported: call report first");
      if (Status status = report(); !status) return status;
    }
    if (requester_.state() == detail::Requester::State::over) return farewell(broken_, decision);
    detail::Deadline deadline(timeout, options_.stop);
    while (true) {
      detail::Message reply;
      bool there = true;
      Status status;
      if (timeout == 0) {
        status = session().receive_nowait(reply, there);
        if (status && !there) status = end_check(reply, there);
      } else {
        status = session().receive(reply, deadline);
      }
      if (status.code() == Code::timeout || (status && !there)) return Status();
      if (!status) return farewell(std::move(status), decision);
      switch (requester_.receive(reply.header.sequence)) {
        case detail::Requester::Outcome::accept: status = read(reply, decision); break;
        case detail::Requester::Outcome::discard:
        case detail::Requester::Outcome::drop: session().take(); continue;
        case detail::Requester::Outcome::breach:
          status = detail::protocol_error("a decision came that nobody asked for");
      }
      if (!status) return farewell(std::move(status), decision);
      if (!decision.is_none()) return Status();
    }
  }

  /// Lets an environment ask for decisions until `sessions` trainers have left, 0: for
  /// ever. Blocks; this backend is closed when it returns.
  Status run(Environment& env, uint32_t sessions = 0) {
    First first;
    Transition transition;
    Decision decision;
    uint32_t served = 0;
    bool asked = false;
    Status status = decide(decision);
    while (status) {
      if (decision.is_close()) {
        served += asked || decision.reason == Reason::closed;
        asked = false;
        if (sessions && served >= sessions) break;
        status = decide(decision);
      } else if (decision.is_reset()) {
        asked = true;
        first.info = Value::map();
        Status done = env.reset(decision.reset, first);
        if (done) done = report(first);
        status = go_on(std::move(done), decision);
      } else {
        transition.reward = 0.0;
        transition.terminated = false;
        transition.truncated = false;
        transition.info = Value::map();
        Status done = decision.reset_mask.is_nil()
                          ? env.step(decision.action, transition)
                          : Status(Code::unsupported, "this environment resets none of a batch in a step");
        if (done) done = report(transition);
        status = go_on(std::move(done), decision);
      }
    }
    close(status.code() == Code::stopped ? Reason::draining : Reason::closed);
    return status;
  }

  /// Leaves the trainer. Twice is harmless.
  void close(Reason reason = Reason::closed) {
    open_ = false;
    leave(reason);
    search_.give_up();
  }

 private:
  enum class Phase : uint8_t { unconnected, idle, resetting, running };

  detail::SlotSession& session() { return end_->session(); }

  Status check_usable() const {
    return open_ ? Status() : Status(Code::misuse, "this backend is not open");
  }
  Status check_phase(Phase phase, const char* rule) const {
    if (Status status = check_usable(); !status) return status;
    return phase_ == phase ? Status() : Status(Code::misuse, std::string(rule) + "; nothing was sent");
  }

  void begin_search() {
    detail::SearchOptions options;
    options.name = options_.name;
    options.directory = options_.directory;
    options.paradigm = detail::Paradigm::server_env;
    options.token = options_.token;
    options.stop = options_.stop;
    search_.begin(std::move(options), hello_);
  }

  /// Looks for a trainer for so many seconds; ok and unconnected where there is none.
  Status connect(double timeout) {
    detail::Deadline deadline(timeout, options_.stop);
    detail::Welcome welcome;
    while (true) {
      const auto areas = [this](const detail::Welcome&, size_t& request, size_t& reply) {
        request = agreement_.reports.bytes;
        reply = agreement_.decisions.bytes;
        return Status();
      };
      if (Status status = search_.look(end_, welcome, areas); !status) return status;
      if (end_) break;
      if (deadline.stopped()) return detail::was_stopped();
      if (deadline.over()) return Status();
      search_.rest(deadline.left_ns(detail::look_every_ns));
    }
    writer_ = std::make_unique<detail::ReportWriter>(
        agreement_, (end_->peer_capabilities() & detail::capability_records) != 0);
    requester_ = detail::Requester();
    phase_ = Phase::idle;
    ended_ = false;
    broken_ = Status();
    return Status();
  }

  void begin(detail::MessageKind kind) { session().draft(draft_, kind, requester_.sequence()); }

  /// Sends what `write` puts into the draft. Where the trainer is gone `poll` says so.
  template <class Write>
  Status send(Write&& write) {
    if (requester_.state() == detail::Requester::State::waiting) {
      return Status(Code::misuse, "the last report has not been decided upon yet: call poll");
    }
    if (requester_.state() != detail::Requester::State::idle) return Status();
    const uint32_t sequence = requester_.begin();
    Status status = write();
    if (status && draft_.overflow.size() > session().limit_bytes()) {
      status = session().too_large(draft_.overflow.size());
    }
    if (!status) {
      requester_.cancel();
      return status;
    }
    detail::Deadline deadline(forever, options_.stop);
    status = session().send(sequence, draft_, deadline);
    if (status) return status;
    // Half a report is out: nothing more can be said in this session.
    requester_.lose();
    broken_ = std::move(status);
    return broken_.code() == Code::stopped ? broken_ : Status();
  }

  Status end_check(detail::Message& reply, bool& there) {
    const Status status = end_->check();
    if (status) return status;
    // The trainer may have published, then gone: its last message counts.
    if (Status last = session().receive_nowait(reply, there); !last) return last;
    return there ? Status() : status;
  }

  Status read(const detail::Message& reply, Decision& decision) {
    const detail::DecisionReader reader(agreement_);
    Status status;
    switch (reply.kind()) {
      case detail::MessageKind::step:
        if (phase_ == Phase::idle || ended_) {
          return detail::protocol_error("the trainer said Step where only Reset or Close may come");
        }
        status = reader.step(reply, decision.action, decision.reset_mask);
        if (!status) return status;
        decision.kind = Decision::Kind::action;
        phase_ = Phase::running;
        break;
      case detail::MessageKind::reset:
        status = reader.reset(reply, decision.reset);
        if (!status) return status;
        decision.kind = Decision::Kind::reset;
        phase_ = Phase::resetting;
        ended_ = false;
        break;
      case detail::MessageKind::close: {
        Reason reason = Reason::closed;
        status = detail::DecisionReader::close(reply, reason);
        if (!status) return status;
        session().take();
        leave(Reason::closed);
        decision.kind = Decision::Kind::close;
        decision.reason = reason == Reason::draining ? reason : Reason::closed;
        return Status();
      }
      case detail::MessageKind::call: return answer(reply);
      default: return detail::protocol_error("a message came that is no decision");
    }
    session().take();
    return status;
  }

  Status answer(const detail::Message& reply) {
    Call call;
    if (Status status = detail::DecisionReader::call(reply, call); !status) return status;
    session().take();
    Value result;
    Status done = detail::answer_call(facts_, call, result);
    if (done) {
      done = send([&] { return begin(detail::MessageKind::call_result), writer_->call_result(draft_, result); });
    }
    if (done || done.code() == Code::stopped) return done;
    return send([&] {
      return begin(detail::MessageKind::failure), writer_->failure(draft_, detail::as_failure(done));
    });
  }

  Status go_on(Status done, Decision& decision) {
    if (!done) {
      if (Status status = report_failure(done); !status) return status;
    }
    return poll(decision, forever);
  }

  /// The Close that a loss stands for; a breach, and a stop, are errors.
  Status farewell(Status why, Decision& decision) {
    if (why.code() == Code::stopped || why.code() == Code::misuse) return why;
    const bool breach = why.code() == Code::protocol || why.code() == Code::too_large;
    leave(breach ? Reason::protocol_error : Reason::closed);
    if (breach) return why;
    decision.kind = Decision::Kind::close;
    decision.reason = why.code() != Code::peer_closed          ? Reason::vanished
                      : why.reason() == Reason::draining ? Reason::draining
                                                         : Reason::closed;
    return Status();
  }

  void leave(Reason reason) {
    if (end_) end_->close(reason);
    end_.reset();
    phase_ = Phase::unconnected;
    ended_ = false;
    if (open_) begin_search();
  }

  bool open_ = false;
  EnvironmentFacts facts_;
  BackendOptions options_;
  detail::Agreement agreement_;
  detail::Hello hello_;
  detail::Search search_;
  std::shared_ptr<detail::ClientEnd> end_;
  std::unique_ptr<detail::ReportWriter> writer_;
  detail::Requester requester_;
  detail::Draft draft_;
  Phase phase_ = Phase::unconnected;
  bool ended_ = false;
  Status broken_;
};

}  // namespace rlay
