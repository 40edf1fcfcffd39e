// The two ends of a channel in mapped memory.

#pragma once

#include "ends.hpp"
#include "waiting.hpp"

#if RLAY_MAPPED_FILES

namespace rlay::detail {

inline constexpr Bell own_bell = RLAY_FUTEX ? Bell::futex : Bell::poll;

inline std::string program_text() {
  std::string text;
#if defined(__linux__)
  if (std::FILE* file = std::fopen("/proc/self/cmdline", "rbe")) {
    char buffer[200];
    text.assign(buffer, std::fread(buffer, 1, sizeof buffer, file));
    std::fclose(file);
    while (!text.empty() && text.back() == '\0') text.pop_back();
    std::replace(text.begin(), text.end(), '\0', ' ');
    text = text.substr(text.rfind('/', text.find(' ')) + 1);
  }
#endif
  if (text.empty() || !is_utf8(text)) text = "C++ program";
  return shortened(std::move(text), 95);
}

/// What one end says of itself: a line of the header that only it writes.
class EndLine {
 public:
  EndLine() = default;
  EndLine(uint8_t* header, End end) : line_(header + (end == End::server ? 128 : 256)) {}

  void announce() const {
    put(4, 0);
    put(8, static_cast<uint32_t>(Holder::process));
    put(12, static_cast<uint32_t>(own_bell));
    put(16, software_capabilities());
    put(20, static_cast<uint32_t>(::getpid()));
    const auto now = static_cast<uint64_t>(::time(nullptr));
    put(24, static_cast<uint32_t>(now));
    put(28, static_cast<uint32_t>(now >> 32));
    const std::string program = program_text();
    std::memset(line_ + 32, 0, 96);
    std::memcpy(line_ + 32, program.data(), program.size());
    put(0, static_cast<uint32_t>(EndState::alive));
  }
  void say_goodbye(Reason reason) const {
    put(4, static_cast<uint32_t>(reason));
    put(0, static_cast<uint32_t>(EndState::closed));
  }
  EndState state() const { return static_cast<EndState>(get(0)); }
  Reason reason() const {
    const uint32_t number = get(4);
    return number <= 7 ? static_cast<Reason>(number) : Reason::none;
  }
  Holder holder() const { return static_cast<Holder>(get(8)); }
  Bell bell() const { return static_cast<Bell>(get(12)); }
  uint32_t capabilities() const { return get(16); }
  std::string who() const {
    std::string program(reinterpret_cast<const char*>(line_) + 32, 96);
    program.resize(std::min<size_t>(program.find('\0'), program.size()));
    for (char& c : program) {
      if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7F) c = '?';
    }
    return "process " + std::to_string(get(20)) + " (" + program + ")";
  }

 private:
  void put(size_t offset, uint32_t value) const {
    word_at(line_, offset).store(value, std::memory_order_release);
  }
  uint32_t get(size_t offset) const { return word_at(line_, offset).load(std::memory_order_acquire); }

  uint8_t* line_ = nullptr;
};

inline std::string text_of(Reason reason) {
  switch (reason) {
    case Reason::none: return "without a reason";
    case Reason::closed: return "by its user";
    case Reason::draining: return "because its process shuts down";
    case Reason::environment_exited: return "because the environment ended its process";
    case Reason::protocol_error: return "after a breach of the protocol";
    case Reason::replaced: return "because a newer session took over";
    case Reason::vanished: return "because it vanished";
    case Reason::link_down: return "because the link to it was down for too long";
  }
  return "without a reason";
}

/// How long a link may be down, in nanoseconds.
inline int64_t resume_window_ns() {
  if (const char* named = std::getenv("RLAY_RESUME_WINDOW_S"); named && *named) {
    char* end = nullptr;
    const double seconds = std::strtod(named, &end);
    if (end != named && *end == '\0' && seconds >= 0 && seconds < 1e9) {
      return static_cast<int64_t>(seconds * 1e9);
    }
  }
  return 300 * ns_per_s;
}

/// Waiting and bells of one end, and whether the other one lives.
class MappedCarrier final : public Carrier {
 public:
  void begin(ChannelFiles* files, End peer_end, Descriptor probe) {
    files_ = files;
    peer_end_ = peer_end;
    probe_ = std::move(probe);
    line_ = EndLine(files->header.data(), peer_end);
    down_since_ns_ = 0;
    generation_ = fork_generation();
  }
  /// For a session: how to look depends on who holds the other end.
  void begin_session() {
    const bool bridged = line_.holder() == Holder::bridge;
    for (Look& look : looks_) look.begin(bridged);
    down_since_ns_ = 0;
  }
  /// A slot where a message means that somebody newer took the other end's place.
  void superseded_by(const Slot* greetings) { greetings_ = greetings; }
  const EndLine& line() const { return line_; }

  void published(const Slot& slot) override {
    if (slot.published_bell().load(std::memory_order_seq_cst)) ring(slot.published());
  }
  void taken(const Slot& slot) override {
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (slot.taken_bell().load(std::memory_order_seq_cst)) ring(slot.taken());
  }
  /// Wakes the other end without a message, so that it sees a goodbye at once.
  void wake(const Slot& outgoing, const Slot& incoming) {
    ring(outgoing.published());
    ring(incoming.taken());
  }

  Status wait(const Slot& slot, Word which, uint32_t seen, Deadline& deadline) override {
    std::atomic<uint32_t>& word = which == Word::published ? slot.published() : slot.taken();
    std::atomic<uint32_t>& bell = which == Word::published ? slot.published_bell() : slot.taken_bell();
    if (looks_[which == Word::taken](word, seen)) return Status();
    const auto changed = [&] { return word.load(std::memory_order_acquire) != seen; };
    const bool rung = own_bell == Bell::futex && (line_.capabilities() & capability_futex) != 0;
    Status status;
    bell.store(1, std::memory_order_seq_cst);
    while (!changed()) {
      const int64_t began = now_ns();
      const int64_t slice = deadline.left_ns();
      if (slice > 0) sleep_on(word, seen, slice, rung);
      if (changed()) break;
      status = deadline.stopped() ? was_stopped() : check();
      // The other end may have published, then died: its last message counts.
      if (changed()) status = Status();
      if (!status || changed()) break;
      if (down_since_ns_) deadline.extend(now_ns() - began);
      if (deadline.over()) {
        status = timed_out("no message came in time");
        break;
      }
      bell.store(1, std::memory_order_seq_cst);
    }
    bell.store(0, std::memory_order_relaxed);
    return status;
  }

  Status check() override {
    if (files_ == nullptr || fork_generation() != generation_) return forked_error();
    const EndState state = line_.state();
    if (state == EndState::closed) return closed();
    if (state == EndState::lost) {
      return line_.reason() == Reason::link_down
                 ? Status(Code::link_down, who() + " is out of reach: the link to it was down for too long")
                 : Status(Code::peer_lost, who() + " was lost", line_.reason());
    }
    if (greetings_ && greetings_->pending()) {
      return Status(Code::peer_lost, who() + " was replaced by a newer one", Reason::replaced);
    }
    if (state != EndState::link_down && is_held(probe_.fd())) {
      down_since_ns_ = 0;
      return Status();
    }
    return missing();
  }

 private:
  std::string who() const {
    return std::string("the ") + name_of(peer_end_) + " of channel " + quoted(files_->name);
  }
  Status closed() const {
    return Status(Code::peer_closed, who() + " was closed " + text_of(line_.reason()), line_.reason());
  }
  Status missing() {
    if (line_.holder() != Holder::bridge) {
      if (line_.state() == EndState::closed) return closed();  // it said so, then let go
      return Status(Code::peer_lost,
                    who() + " is gone: " + line_.who() +
                        " ended without a goodbye (killed, crashed, or out of memory)",
                    Reason::vanished);
    }
    const int64_t now = now_ns();
    if (down_since_ns_ == 0) down_since_ns_ = now;
    if (now - down_since_ns_ > resume_window_ns()) {
      return Status(Code::link_down, "the link to " + who() + " was down for too long");
    }
    return Status();
  }
  void ring(std::atomic<uint32_t>& word) {
    switch (line_.bell()) {
      case Bell::futex:
#if RLAY_FUTEX
        futex_wake(word);
#else
        (void)word;
#endif
        break;
      case Bell::fifo: files_->ring_fifo(peer_end_); break;
      case Bell::poll: break;
    }
  }

  ChannelFiles* files_ = nullptr;
  End peer_end_ = End::client;
  Descriptor probe_;
  EndLine line_;
  const Slot* greetings_ = nullptr;
  int64_t down_since_ns_ = 0;
  uint32_t generation_ = 0;
  Look looks_[2];
};

/// Where the slots lie in a file of slots.
struct SlotGeometry {
  uint32_t request_capacity = 0;
  uint32_t reply_capacity = 0;
  uint64_t reply_offset = 0;
  uint64_t file_bytes = 0;

  static SlotGeometry of(uint32_t request_capacity, uint32_t reply_capacity) {
    SlotGeometry it;
    it.request_capacity = request_capacity;
    it.reply_capacity = reply_capacity;
    it.reply_offset = aligned(slots_header_bytes + Slot::bytes(request_capacity), 4096);
    it.file_bytes = aligned(it.reply_offset + Slot::bytes(reply_capacity), 4096);
    return it;
  }
  Slot request(uint8_t* file) const { return Slot{file + slots_header_bytes, request_capacity}; }
  Slot reply(uint8_t* file) const { return Slot{file + reply_offset, reply_capacity}; }

  void write(uint8_t* file, uint32_t generation) const {
    const uint32_t head[2] = {protocol_version, generation};
    const uint64_t offsets[2] = {slots_header_bytes, reply_offset};
    const uint32_t capacities[2] = {request_capacity, reply_capacity};
    std::memcpy(file + 8, head, 8);
    std::memcpy(file + 16, offsets, 16);
    std::memcpy(file + 32, capacities, 8);
    std::memcpy(file, "RLAYSLOT", 8);
  }
  /// Reads the head of a file, every number checked.
  static Result<SlotGeometry> read(const Mapping& file, uint32_t generation, const std::string& path) {
    uint32_t head[2], capacities[2];
    uint64_t offsets[2];
    std::memcpy(head, file.data() + 8, 8);
    std::memcpy(offsets, file.data() + 16, 16);
    std::memcpy(capacities, file.data() + 32, 8);
    const auto sound = [](uint32_t capacity) {
      return capacity >= 64 && capacity % 64 == 0 && capacity <= max_slot_payload_bytes;
    };
    const SlotGeometry it = of(capacities[0], capacities[1]);
    if (std::memcmp(file.data(), "RLAYSLOT", 8) != 0 || head[0] != protocol_version ||
        head[1] != generation || !sound(capacities[0]) || !sound(capacities[1]) ||
        offsets[0] != slots_header_bytes || offsets[1] != it.reply_offset ||
        it.file_bytes > file.size()) {
      return Status(Code::corrupt, "the head of " + path + "/slots." + std::to_string(generation) +
                                       " is not sound");
    }
    return it;
  }
};

inline Slot request_greeting(uint8_t* header) { return Slot{header + 4096, greeting_capacity}; }
inline Slot reply_greeting(uint8_t* header) { return Slot{header + 69632, greeting_capacity}; }

/// Reads what a channel's header says, every number checked.
inline Result<Paradigm> check_header(const uint8_t* header, const std::string& path) {
  const auto word = [header](size_t offset) {
    uint32_t value;
    std::memcpy(&value, header + offset, 4);
    return value;
  };
  if (std::memcmp(header, "RLAYCHAN", 8) != 0) {
    return Status(Code::corrupt, path + " is not a channel: its header has no magic");
  }
  if (word(8) != protocol_version) {
    return Status(Code::version, "the channel " + path + " is of version " + std::to_string(word(8)) +
                                     " of the protocol, this end of version " +
                                     std::to_string(protocol_version) + ": upgrade the older end");
  }
  if (word(16) != header_bytes || word(20) != greeting_slot_bytes || word(24) < 1 || word(24) > 2 ||
      word(32) > max_num_envs) {
    return Status(Code::corrupt, "the header of " + path + " is not sound");
  }
  return static_cast<Paradigm>(word(24));
}

/// The end of a channel that makes it and removes it.
class MappedServer final : public ServerEnd {
 public:
  MappedServer() = default;
  MappedServer(const MappedServer&) = delete;
  MappedServer& operator=(const MappedServer&) = delete;
  ~MappedServer() override { close(Reason::closed); }

  Status create(const std::string& name, const std::string& directory, Paradigm paradigm, uint32_t num_envs) {
    if (Status status = check_channel_name(name); !status) return status;
    auto opened = open_directory(directory, true);
    if (!opened) return opened.status();
    auto files = ChannelFiles::create(std::move(opened.value()), name);
    if (!files) return files.status();
    files_ = std::move(files.value());
    uint8_t* header = files_.header.data();
    const uint32_t words[7] = {protocol_version, protocol_minor, header_bytes, greeting_slot_bytes,
                               static_cast<uint32_t>(paradigm), 0, num_envs};
    std::memcpy(header + 8, words, sizeof words);
    std::memcpy(header, "RLAYCHAN", 8);
    line_ = EndLine(header, End::server);
    line_.announce();
    Status status;
    auto probe = files_.probe(End::client);
    if (probe) {
      greeting_carrier_.begin(&files_, End::client, std::move(probe.value()));
      requests_ = request_greeting(header);
      greetings_.begin(reply_greeting(header), requests_, &greeting_carrier_, max_greeting_bytes);
      status = files_.publish();
    } else {
      status = probe.status();
    }
    if (!status) {
      files_.remove();
      files_ = ChannelFiles();
      return status;
    }
    open_ = true;
    return status;
  }

  bool is_open() const { return open_; }

  /// Waits for a client's HELLO. An error of code protocol or version: a client spoke, but
  /// not soundly; it is to be refused with that.
  Status receive_hello(Hello& hello, Message& message, Deadline& deadline) override {
    // Nobody in particular is waited for: a client that is gone is no reason to stop.
    struct Patient final : Carrier {
      MappedCarrier* inner = nullptr;
      void published(const Slot& slot) override { inner->published(slot); }
      void taken(const Slot& slot) override { inner->taken(slot); }
      Status check() override { return Status(); }
      Status wait(const Slot& slot, Word, uint32_t seen, Deadline& patience) override {
        while (slot.published().load(std::memory_order_acquire) == seen) {
          if (patience.stopped()) return was_stopped();
          const int64_t slice = patience.left_ns();
          if (slice <= 0) return timed_out("no client came in time");
          slot.published_bell().store(1, std::memory_order_seq_cst);
          const bool rung =
              own_bell == Bell::futex && (inner->line().capabilities() & capability_futex) != 0;
          if (slot.published().load(std::memory_order_acquire) == seen) {
            sleep_on(slot.published(), seen, slice, rung);
          }
          slot.published_bell().store(0, std::memory_order_relaxed);
        }
        return Status();
      }
    } patient;
    patient.inner = &greeting_carrier_;
    SlotSession incoming;
    incoming.begin(reply_greeting(files_.header.data()), requests_, &patient, max_greeting_bytes);
    Status status = incoming.receive(message, deadline);
    if (!status && (status.code() == Code::stopped || status.code() == Code::timeout)) return status;
    if (status) {
      if (message.kind() != MessageKind::hello || message.header.sequence != 1) {
        status = protocol_error("a client said something else than HELLO");
      } else {
        status = decode(message, hello);
      }
    } else {  // not even the message is sound: it is still there
      const uint32_t word = requests_.published().load(std::memory_order_acquire);
      std::memcpy(&message.header, requests_.buffer(word & 1), sizeof message.header);
    }
    incoming.take_and_ring();
    return status;
  }

  /// Tells a client that it is not taken.
  Status refuse(const Message& hello, const Status& why, const StopFlag* stop) override {
    Bytes payload;
    if (Status status = encode_refusal(why, payload); !status) return status;
    return answer(hello, MessageKind::refusal, payload, hello.header.incarnation, hello.header.session, stop);
  }

  /// Makes the slots of a session and tells the client.
  Status accept(const Message& hello, Welcome welcome, uint64_t incarnation, uint64_t session,
                uint32_t request_capacity, uint32_t reply_capacity, const StopFlag* stop) override {
    auto probe = files_.probe(End::client);
    if (!probe) return probe.status();
    if (!slots_.data() || geometry_.request_capacity != request_capacity ||
        geometry_.reply_capacity != reply_capacity) {
      slots_.unmap();
      geometry_ = SlotGeometry::of(request_capacity, reply_capacity);
      auto made = files_.create_slots(++generation_, static_cast<size_t>(geometry_.file_bytes));
      if (!made) return made.status();
      slots_ = std::move(made.value());
      geometry_.write(slots_.data(), generation_);
    }
    const Slot request = geometry_.request(slots_.data());
    const Slot reply = geometry_.reply(slots_.data());
    std::memset(request.base, 0, slot_control_bytes);
    std::memset(reply.base, 0, slot_control_bytes);
    carrier_.begin(&files_, End::client, std::move(probe.value()));
    carrier_.superseded_by(&requests_);
    carrier_.begin_session();
    session_.begin(reply, request, &carrier_, welcome.max_message_bytes);
    session_.stamp(incarnation, session);
    uint8_t* header = files_.header.data();
    const uint64_t ids[2] = {incarnation, session};
    std::memcpy(header + 40, ids, sizeof ids);
    word_at(header, 56).store(word_at(header, 56).load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    word_at(header, 36).store(generation_, std::memory_order_release);
    welcome.generation = generation_;
    Bytes payload;
    if (Status status = encode(welcome, payload); !status) return status;
    return answer(hello, MessageKind::welcome, payload, incarnation, session, stop);
  }

  SlotSession& session() override { return session_; }
  uint32_t peer_capabilities() const override { return greeting_carrier_.line().capabilities(); }

  /// Takes away name and files, says goodbye, and lets go. Twice is harmless.
  void close(Reason reason) override {
    if (!open_) return;
    open_ = false;
    if (!files_.holds()) return;
    files_.remove();
    line_.say_goodbye(reason);
    greeting_carrier_.wake(greetings_.outgoing(), requests_);
    if (slots_.data()) carrier_.wake(geometry_.reply(slots_.data()), geometry_.request(slots_.data()));
    files_.release();
  }

 private:
  Status answer(const Message& hello, MessageKind kind, const Bytes& payload, uint64_t incarnation,
                uint64_t session, const StopFlag* stop) {
    (void)hello;
    // A client that does not read its answer for so long is given up.
    Deadline deadline(60.0, stop);
    if (Status status = greetings_.wait_until_taken(deadline); !status) return status;
    greetings_.stamp(incarnation, session);
    Draft draft;
    greetings_.draft(draft, kind, 1);
    draft.append(payload);
    if (Status status = greetings_.send(1, draft, deadline); !status) return status;
    return greetings_.wait_until_taken(deadline);
  }

  ChannelFiles files_;
  EndLine line_;
  Slot requests_;
  MappedCarrier greeting_carrier_;
  SlotSession greetings_;
  Mapping slots_;
  SlotGeometry geometry_;
  uint32_t generation_ = 0;
  MappedCarrier carrier_;
  SlotSession session_;
  bool open_ = false;
};

/// The end of a channel that opens what a server made.
class MappedClient final : public ClientEnd {
 public:
  MappedClient() = default;
  MappedClient(const MappedClient&) = delete;
  MappedClient& operator=(const MappedClient&) = delete;
  ~MappedClient() override { close(Reason::closed); }

  /// Opens a channel and holds its client end.
  Status open(const std::string& name, const std::string& directory, Paradigm& paradigm) {
    if (Status status = check_channel_name(name); !status) return status;
    auto opened = open_directory(directory, false);
    if (!opened) return opened.status();
    auto files = ChannelFiles::open(std::move(opened.value()), name);
    if (!files) return files.status();
    files_ = std::move(files.value());
    const Status status = enter(paradigm);
    if (!status) files_ = ChannelFiles();
    return status;
  }
  bool is_open() const { return open_; }

  /// Begins to say HELLO; `continue_hello` says it.
  void begin_hello(const Bytes& payload, uint64_t incarnation, uint64_t session) override {
    while (greetings_.pending()) greetings_.take_and_ring();  // what was for an earlier client
    greetings_.stamp(incarnation, session);
    greetings_.draft(hello_, MessageKind::hello, 1);
    hello_.append(payload);
    said_ = 0;
  }
  /// Says as much of a long HELLO as the server took the parts before of.
  Status continue_hello() override {
    greetings_.send_some(1, hello_, said_);
    return carrier_.check();
  }
  /// Whether an answer is there; it is the refusal's error where it is one.
  Status look_for_welcome(Welcome& welcome, uint64_t& incarnation, uint64_t& session, bool& there) override {
    there = false;
    Message message;
    bool whole = false;
    if (Status status = greetings_.receive_nowait(message, whole); !status) return status;
    if (!whole) return carrier_.check();
    const MessageHeader& header = message.header;
    const bool ours = (incarnation == 0 || incarnation == header.incarnation) &&
                      (session == 0 || session == header.session);
    Status status;
    if (ours && message.kind() == MessageKind::refusal) {
      status = decode_refusal(message);
      there = true;
    } else if (ours && message.kind() == MessageKind::welcome) {
      status = decode(message, welcome);
      there = true;
      incarnation = header.incarnation;
      session = header.session;
    } else if (ours) {
      status = protocol_error("something else than an answer came to a HELLO");
    }
    greetings_.take_and_ring();
    return status;
  }
  /// Waits a while for the answer to come.
  void rest(int64_t duration_ns) override {
    const uint32_t seen = greetings_.incoming().taken().load(std::memory_order_relaxed);
    if (greetings_.incoming().published().load(std::memory_order_acquire) != seen) return;
    Deadline deadline(static_cast<double>(duration_ns) / 1e9);
    (void)carrier_.wait(greetings_.incoming(), Carrier::Word::published, seen, deadline);
  }

  /// Maps the slots that a WELCOME speaks of.
  Status attach(const Welcome& welcome, uint64_t incarnation, uint64_t session, size_t request_area,
                size_t reply_area) override {
    auto mapped = files_.open_slots(welcome.generation);
    if (!mapped) return mapped.status();
    auto geometry = SlotGeometry::read(mapped.value(), welcome.generation, files_.path);
    if (!geometry) return geometry.status();
    if (geometry.value().request_capacity < request_area || geometry.value().reply_capacity < reply_area) {
      return Status(Code::corrupt, "the slots of channel " + quoted(files_.name) +
                                       " are smaller than its messages");
    }
    slots_ = std::move(mapped.value());
    geometry_ = geometry.value();
    carrier_.begin_session();
    session_.begin(geometry_.request(slots_.data()), geometry_.reply(slots_.data()), &carrier_,
                   std::min(welcome.max_message_bytes, default_max_message_bytes));
    session_.stamp(incarnation, session);
    return Status();
  }

  SlotSession& session() override { return session_; }
  uint32_t peer_capabilities() const override { return carrier_.line().capabilities(); }
  Status check() override { return carrier_.check(); }
  const std::string& name() const override { return files_.name; }

  void close(Reason reason) override {
    if (!open_) return;
    open_ = false;
    if (!files_.holds()) return;
    line_.say_goodbye(reason);
    carrier_.wake(greetings_.outgoing(), greetings_.incoming());
    if (slots_.data()) carrier_.wake(geometry_.request(slots_.data()), geometry_.reply(slots_.data()));
    files_.release();
  }

 private:
  Status enter(Paradigm& paradigm) {
    uint8_t* header = files_.header.data();
    auto checked = check_header(header, files_.path);
    if (!checked) return checked.status();
    paradigm = checked.value();
    auto probe = files_.probe(End::server);
    if (!probe) return probe.status();
    if (!is_held(probe.value().fd())) {
      return Status(Code::not_found, "channel " + quoted(files_.name) +
                                         " is stale: its server is gone without a goodbye");
    }
    if (Status status = files_.hold(End::client); !status) return status;
    if (!files_.is_current()) {
      files_.release();
      return Status(Code::not_found, "channel " + quoted(files_.name) + " was just replaced");
    }
    carrier_.begin(&files_, End::server, std::move(probe.value()));
    line_ = EndLine(header, End::client);
    line_.announce();
    greetings_.begin(request_greeting(header), reply_greeting(header), &carrier_, max_greeting_bytes);
    open_ = true;
    return Status();
  }

  ChannelFiles files_;
  EndLine line_;
  MappedCarrier carrier_;
  SlotSession greetings_;
  Draft hello_;
  uint32_t said_ = 0;
  Mapping slots_;
  SlotGeometry geometry_;
  SlotSession session_;
  bool open_ = false;
};

}  // namespace rlay::detail

#endif  // RLAY_MAPPED_FILES
