// An environment that answers: the other end of a ClientEnv.

#pragma once

#include "search.hpp"

namespace rlay {

struct ServeOptions {
  /// Of the channel, or its address at a bridge: tcp://host:port/name. Empty: RLAY_CHANNEL.
  std::string name;
  /// Where channels live; empty: RLAY_DIR or the default.
  std::string directory;
  /// How many clients to serve; 0: any number. One that asked for nothing does not count.
  uint32_t sessions = 0;
  /// Ends `serve` within 0.1 s where it is set, from a signal handler too.
  const StopFlag* stop = nullptr;
  /// Larger messages are refused.
  uint64_t max_message_bytes = detail::default_max_message_bytes;
  /// For an address: seconds to wait for its bridge; `forever` without a limit.
  double connect_timeout = 30;
  /// For an address: the token of its bridge; empty: the file of RLAY_TOKEN_FILE, if set.
  std::string token;
  /// Called with one line about each client that comes or goes, if set.
  std::function<void(const std::string& line)> log;
};

namespace detail {

/// One client, from its WELCOME to its goodbye.
class BackendSession {
 public:
  BackendSession(SlotSession& session, const Agreement& agreement, Environment& env, bool records,
                 const StopFlag* stop)
      : session_(session), env_(env), reader_(agreement), writer_(agreement, records), deadline_(forever, stop) {}

  /// Requests that were run.
  uint64_t requests() const { return requests_; }

  /// Answers requests until the client has said CLOSE; else an error says why it ended.
  Status serve() {
    while (!closing_) {
      Message request;
      Status status = session_.receive(request, deadline_);
      if (!status) return refuse_unreadable(std::move(status));
      const uint32_t sequence = request.header.sequence;
      switch (responder_.receive(sequence)) {
        case Responder::Outcome::run: status = respond(request, sequence); break;
        case Responder::Outcome::repeat:
          session_.take();
          status = repeat(sequence);
          break;
        case Responder::Outcome::drop: session_.take(); break;
        case Responder::Outcome::breach:
          session_.take();
          status = protocol_error("request " + std::to_string(sequence) + " came after " +
                                  std::to_string(responder_.sequence()));
      }
      if (!status) return status;
    }
    return Status();
  }

 private:
  Status respond(const Message& request, uint32_t sequence) {
    ++requests_;
    session_.draft(draft_, MessageKind::transition, sequence);
    switch (request.kind()) {
      case MessageKind::step: return step(request, sequence);
      case MessageKind::reset: return reset(request, sequence);
      case MessageKind::call: return call(request, sequence);
      case MessageKind::close: return close(request, sequence);
      default: return break_off(protocol_error("a message came that is no request"), sequence);
    }
  }

  Status step(const Message& request, uint32_t sequence) {
    Status status = reader_.step(request, action_, mask_);
    if (!status) return break_off(std::move(status), sequence);
    session_.take();
    if (!was_reset_) {
      status = Status(Code::reset_needed, "a step came before the first reset: call reset first");
    } else {
      transition_.reward = 0.0;
      transition_.terminated = false;
      transition_.truncated = false;
      transition_.info = Value::map();
      if (!mask_.is_nil()) {
        status = Status(Code::unsupported, "this environment resets none of a batch in a step");
      } else {
        status = env_.step ? env_.step(action_, transition_)
                           : Status(Code::unsupported, "this environment cannot step");
        if (status) status = writer_.transition(draft_, transition_);
      }
    }
    return finish(std::move(status), sequence);
  }

  Status reset(const Message& request, uint32_t sequence) {
    ResetRequest asked;
    Status status = reader_.reset(request, asked);
    if (!status) return break_off(std::move(status), sequence);
    session_.take();
    first_.info = Value::map();
    status = env_.reset ? env_.reset(asked, first_)
                        : Status(Code::unsupported, "this environment cannot reset");
    if (status) {
      was_reset_ = true;
      restart(MessageKind::reset_result, sequence);
      status = writer_.reset_result(draft_, first_);
    }
    return finish(std::move(status), sequence);
  }

  Status call(const Message& request, uint32_t sequence) {
    Call asked;
    Status status = DecisionReader::call(request, asked);
    if (!status) return break_off(std::move(status), sequence);
    session_.take();
    Value result;
    status = answer_call(env_, asked, result);
    if (status) {
      restart(MessageKind::call_result, sequence);
      status = writer_.call_result(draft_, result);
    }
    return finish(std::move(status), sequence);
  }

  Status close(const Message& request, uint32_t sequence) {
    Reason reason = Reason::closed;
    Status status = DecisionReader::close(request, reason);
    if (!status) return break_off(std::move(status), sequence);
    session_.take();
    closing_ = true;
    restart(MessageKind::call_result, sequence);
    status = writer_.call_result(draft_, Value());
    return finish(std::move(status), sequence);
  }

  void restart(MessageKind kind, uint32_t sequence) { session_.draft(draft_, kind, sequence); }

  /// Sends what was written, or why nothing was.
  Status finish(Status status, uint32_t sequence) {
    if (status.code() == Code::stopped) return status;  // the environment wants to leave
    if (status && draft_.overflow.size() > session_.limit_bytes()) {
      status = session_.too_large(draft_.overflow.size());
    }
    if (!status) {
      restart(MessageKind::failure, sequence);
      if (Status written = writer_.failure(draft_, as_failure(std::move(status))); !written) return written;
    }
    responder_.answer();
    in_parts_ = draft_.overflow.empty() ? 0 : sequence;
    return session_.send(sequence, draft_, deadline_);
  }

  Status repeat(uint32_t sequence) {
    if (in_parts_ != sequence) {
      session_.repeat(sequence);
      return Status();
    }
    return session_.send(sequence, draft_, deadline_);
  }

  /// Answers a request that cannot be read, so that its sender does not wait for nothing;
  /// it is the last one of the session.
  Status break_off(Status why, uint32_t sequence) {
    session_.take();
    restart(MessageKind::failure, sequence);
    if (Status status = writer_.failure(draft_, protocol_error(why.message())); !status) return status;
    responder_.answer();
    if (Status status = session_.send(sequence, draft_, deadline_); !status) return status;
    return why;
  }
  Status refuse_unreadable(Status why) {
    if (why.code() != Code::protocol && why.code() != Code::too_large) return why;
    MessageHeader header;
    const Slot& slot = session_.incoming();
    const uint32_t word = slot.published().load(std::memory_order_acquire);
    std::memcpy(&header, slot.buffer(word & 1), sizeof header);
    if (responder_.receive(header.sequence) != Responder::Outcome::run) return why;
    return break_off(std::move(why), header.sequence);
  }

  SlotSession& session_;
  Environment& env_;
  DecisionReader reader_;
  ReportWriter writer_;
  Deadline deadline_;
  Responder responder_;
  Draft draft_;
  Value action_;
  Value mask_;
  First first_;
  Transition transition_;
  uint64_t requests_ = 0;
  uint32_t in_parts_ = 0;
  bool was_reset_ = false;
  bool closing_ = false;
};

/// Why a client cannot be taken, if so.
inline Status judge(const Hello& hello, const Facts& facts, const std::string& name) {
  Wishes wishes;
  if (hello.paradigm != Paradigm::client_env || hello.wishes.is_nil()) {
    return protocol_error("channel " + quoted(name) +
                          " holds an environment and waits for a ClientEnv");
  }
  if (Status status = unpack_wishes(hello.wishes, wishes); !status) return status;
  const std::string count = std::to_string(facts.batch.num_envs);
  if (facts.batch.vector && !wishes.vector) {
    return Status(Code::num_envs, "channel " + quoted(name) + " carries a batch of " + count +
                                      ": use rlay.ClientVectorEnv(" + quoted(name) + ")");
  }
  if (!wishes.num_envs.is_nil() && wishes.num_envs.integer() != facts.batch.num_envs) {
    return Status(Code::num_envs, "channel " + quoted(name) + " carries " + count + " environments, " +
                                      std::to_string(wishes.num_envs.integer()) + " were asked for");
  }
  if (wishes.render_mode.is_text()) {
    const std::string& wanted = wishes.render_mode.text();
    const std::string ours = facts.render_mode.is_text() ? facts.render_mode.text() : "";
    // A client makes these two out of frames by itself.
    const bool made_there = ours == "rgb_array" && (wanted == "human" || wanted == "rgb_array_list");
    if (wanted != ours && !made_there) {
      return Status(Code::unsupported, "the environment of channel " + quoted(name) + " renders " +
                                           (ours.empty() ? "nothing" : quoted(ours)) + ", " +
                                           quoted(wanted) + " was asked for");
    }
  }
  const std::pair<const Value*, const Space*> demands[] = {
      {&wishes.observation_space, &facts.observation_space}, {&wishes.action_space, &facts.action_space}};
  for (const auto& [demanded, space] : demands) {
    if (!demanded->is_nil() && *demanded != space->describe()) {
      return Status(Code::space_mismatch,
                    std::string("the ") + (space == &facts.action_space ? "action" : "observation") +
                        " space of channel " + quoted(name) + " is not the one that is demanded");
    }
  }
  return Status();
}

/// Serves one client after the other.
inline Status serve_clients(ServerEnd& server, const std::string& name, Environment& env,
                            const ServeOptions& options) {
  const Facts facts = pack_facts(env, true);
  auto packed = facts.pack();
  if (!packed) return packed.status();
  auto agreement = Agreement::compile(facts.observation_space, facts.action_space, facts.batch);
  if (!agreement) return agreement.status();
  const auto log = [&options](const std::string& line) {
    if (options.log) options.log(line);
  };
  const uint64_t incarnation = draw_id();
  uint32_t served = 0;
  while (options.sessions == 0 || served < options.sessions) {
    Hello hello;
    Message message;
    Deadline deadline(forever, options.stop);
    Status status = server.receive_hello(hello, message, deadline);
    if (!status && status.code() != Code::protocol && status.code() != Code::version &&
        status.code() != Code::too_large) {
      return status;
    }
    const uint64_t session = message.header.session;
    if (status && session == 0) status = protocol_error("a client drew no session");
    if (status) status = judge(hello, facts, name);
    if (!status) {
      log("refused a client: " + status.message());
      if (server.refuse(message, status, options.stop).code() == Code::stopped) return was_stopped();
      continue;
    }
    Welcome welcome;
    welcome.environment = packed.value();
    welcome.capabilities = software_capabilities();
    welcome.max_message_bytes = std::min(options.max_message_bytes, hello.max_message_bytes);
    status = server.accept(message, welcome, incarnation, session,
                           Agreement::capacity(agreement.value().decisions),
                           Agreement::capacity(agreement.value().reports), options.stop);
    if (status.code() == Code::no_space) {
      (void)server.refuse(message, status, options.stop);
      continue;
    }
    if (status.code() == Code::stopped) return status;
    if (!status) continue;  // it is gone already
    log("a client came to " + name);
    BackendSession backend(server.session(), agreement.value(), env,
                           (server.peer_capabilities() & capability_records) != 0, options.stop);
    status = backend.serve();
    log("a session ended after " + std::to_string(backend.requests()) + " requests: " +
        (status ? "closed" : status.message()));
    if (status.code() == Code::stopped) return status;
    served += backend.requests() > 0;
  }
  return Status();
}

inline Status open_server(const std::string& name, const ServeOptions& options, uint32_t num_envs,
                          std::unique_ptr<ServerEnd>& server);

}  // namespace detail

/// Makes a channel and answers one client after the other: the environment's end of a
/// `ClientEnv`. Blocks, in the thread that calls it.
///
/// What the callbacks return as an error goes to the client, and the session goes on; but
/// after Code::stopped the environment leaves at once, and `serve` returns that.
/// There is no time-out: an algorithm may compute for hours.
///
/// Returns ok after `options.sessions` clients, or Code::stopped where the stop flag is up;
/// else why the channel could not be made. The channel is removed in any case.
inline Status serve(Environment& environment, const ServeOptions& options = {}) {
  auto name = detail::name_or_default(options.name);
  if (!name) return name.status();
  if (Status status = detail::check_facts(environment); !status) return status;
  std::unique_ptr<detail::ServerEnd> server;
  if (Status status = detail::open_server(name.value(), options, environment.num_envs, server); !status) {
    return status;
  }
  Status status = detail::serve_clients(*server, name.value(), environment, options);
  const bool drains = options.stop && options.stop->load();
  server->close(drains ? Reason::draining : Reason::closed);
  return status;
}

}  // namespace rlay
