// The two ends of a channel at a bridge: direct peers, without a mapped file.

#pragma once

#include "ends.hpp"
#include "link.hpp"

namespace rlay::detail {

/// Whether one word `published` came after another one: bit 0 names a buffer, the rest counts.
inline bool is_newer(uint32_t word, uint32_t than) {
  const uint32_t distance = ((word >> 1) - (than >> 1)) & 0x7FFFFFFFU;
  return distance > 0 && distance < 0x40000000U;
}

/// The memory of a slot in this process.
class PrivateSlot {
 public:
  void make(size_t capacity) {
    memory_.assign(Slot::bytes(capacity) + 64, 0);
    auto* first = memory_.data();
    slot_ = Slot{first + (64 - reinterpret_cast<uintptr_t>(first) % 64) % 64, capacity};
  }
  const Slot& slot() const { return slot_; }

 private:
  Bytes memory_;
  Slot slot_;
};

/// What both ends have in common: the link, the slots of a session, and what moves between
/// them. A publication stays in its buffer until the far reader took it, so what a broken
/// link has lost can be sent again.
class DirectEnd : public Carrier, public LinkOwner {
 public:
  // --------------------------------------------------------------------- as a Carrier

  void published(const Slot&) override { send_published(); }
  void taken(const Slot&) override { send_taken(); }
  void look() override { link_.pump(0); }

  Status wait(const Slot& slot, Word which, uint32_t seen, Deadline& deadline) override {
    const std::atomic<uint32_t>& word = which == Word::published ? slot.published() : slot.taken();
    const auto changed = [&] { return word.load(std::memory_order_relaxed) != seen; };
    const int64_t spin_until = now_ns() + spin_ns_;
    while (!changed() && now_ns() < spin_until) link_.pump(0);
    while (!changed()) {
      const int64_t began = now_ns();
      link_.pump(deadline.left_ns());
      if (changed()) break;
      if (deadline.stopped()) return was_stopped();
      Status status = state();
      if (!status) return status;
      if (!attached_) deadline.extend(now_ns() - began);
      if (deadline.over()) return timed_out("no message came in time");
    }
    return Status();
  }
  Status check() override {
    if (ended_.ok()) link_.pump(0);
    return state();
  }

  // --------------------------------------------------------------------- as a LinkOwner

  void link_is_down() override {
    channel_ = 0;
    if (has_session_) attached_ = false;
    if (down_since_ns_ == 0) down_since_ns_ = now_ns();
  }
  Status place(const Frame& frame, uint8_t*& target) override {
    target = nullptr;
    if (!is_session(frame)) return Status();
    const Slot& slot = incoming();
    const uint32_t published = slot.published().load(std::memory_order_relaxed);
    if (!is_newer(frame.publication, published)) {
      if (frame.publication == slot.taken().load(std::memory_order_relaxed) && frame.is_last()) send_taken();
      return Status();
    }
    if (slot.taken().load(std::memory_order_relaxed) != published) {
      return protocol_error("a message came before the last one was taken");
    }
    if (frame.total > message_header_bytes + slot.capacity) {
      return Status(Code::too_large, "a message exceeds its slot");
    }
    if (frame.offset != 0 && (coming_ != frame.publication || coming_offset_ != frame.offset)) {
      return protocol_error("a piece of a message does not follow the one before");
    }
    target = slot.buffer(frame.publication & 1) + frame.offset;
    return Status();
  }
  Status deliver(const Frame& frame, const uint8_t* body) override {
    switch (frame.type) {
      case FrameType::data: return take_data(frame);
      case FrameType::taken: {
        const Slot& slot = outgoing();
        if (is_session(frame) && frame.publication == slot.published().load(std::memory_order_relaxed)) {
          slot.taken().store(frame.publication, std::memory_order_relaxed);
        }
        return Status();
      }
      case FrameType::open:
      case FrameType::opened:
      case FrameType::refused:
        if (Status status = add_piece(frame, body); !status || !frame.is_last()) return status;
        return take_opening(frame);
      default: return take_frame(frame, body);
    }
  }

 protected:
  /// An OPEN, OPENED or REFUSED that is whole in `pieces_`.
  virtual Status take_opening(const Frame& frame) = 0;
  virtual Status take_frame(const Frame& frame, const uint8_t* body) = 0;

  const Slot& outgoing() const { return is_client_ ? request_.slot() : reply_.slot(); }
  const Slot& incoming() const { return is_client_ ? reply_.slot() : request_.slot(); }

  void make_slots(uint32_t request_capacity, uint32_t reply_capacity, uint64_t incarnation, uint64_t session) {
    request_.make(request_capacity);
    reply_.make(reply_capacity);
    incarnation_ = incarnation;
    id_ = session;
    has_session_ = attached_ = true;
    coming_ = coming_offset_ = 0;
    ended_ = Status();
    down_since_ns_ = 0;
  }
  bool is_session(const Frame& frame) const {
    return has_session_ && frame.incarnation == incarnation_ && frame.session == id_;
  }
  /// The far end is gone: the first word counts.
  void end(Status why) {
    if (ended_.ok()) ended_ = std::move(why);
  }
  void end(const Ending& ending, const char* who) {
    if (ending.state == EndState::closed) {
      end(Status(Code::peer_closed, std::string(who) + " was closed", ending.reason));
    } else if (ending.reason == Reason::link_down) {
      end(Status(Code::link_down, std::string(who) + " is out of reach: the link to it was down for too long, or "
                                                     "a bridge that was restarted does not know this session"));
    } else {
      end(Status(Code::peer_lost, std::string(who) + " was lost", ending.reason));
    }
  }
  Status state() {
    if (!ended_.ok()) return ended_;
    if (!link_.fatal().ok()) return ended_ = link_.fatal();
    if (down_since_ns_ == 0 || !has_session_) return Status();
    if (now_ns() - down_since_ns_ > link_.resume_window_ns()) {
      ended_ = Status(Code::link_down, "the link was down for too long: " + link_.problem());
    }
    return ended_;
  }
  void send_opening(FrameType type, uint32_t request_capacity, uint32_t reply_capacity, uint32_t generation,
                    const Bytes& payload, uint64_t incarnation, uint64_t session) {
    const uint32_t prefix[4] = {capability_records, request_capacity, reply_capacity, generation};
    Bytes whole(opening_bytes);
    std::memcpy(whole.data(), prefix, opening_bytes);
    whole.insert(whole.end(), payload.begin(), payload.end());
    for (size_t offset = 0; offset < whole.size(); offset += max_body_bytes) {
      Frame frame;
      frame.type = type;
      frame.channel = channel_;
      frame.incarnation = incarnation;
      frame.session = session;
      frame.offset = static_cast<uint32_t>(offset);
      frame.total = static_cast<uint32_t>(whole.size());
      link_.send(frame, whole.data() + offset, std::min<size_t>(max_body_bytes, whole.size() - offset));
    }
  }
  struct Opening {
    uint32_t capabilities, request_capacity, reply_capacity, generation;
  };
  Opening opening() const {
    Opening it;
    std::memcpy(&it, pieces_.data(), sizeof it);
    return it;
  }
  Bytes slot_words() const {
    const uint32_t words[4] = {request_.slot().published().load(), request_.slot().taken().load(),
                               reply_.slot().published().load(), reply_.slot().taken().load()};
    Bytes out(sizeof words);
    std::memcpy(out.data(), words, sizeof words);
    return out;
  }
  /// Goes on over a new connection: sends again what the far end has not.
  Status resume(const Frame& frame, const uint8_t* body) {
    uint32_t words[4];
    if (frame.body_bytes != sizeof words) return protocol_error("slot words are malformed");
    std::memcpy(words, body, sizeof words);
    const uint32_t published = words[is_client_ ? 0 : 2];
    const uint32_t taken_there = words[is_client_ ? 1 : 3];
    const Slot& slot = outgoing();
    coming_ = coming_offset_ = 0;
    attached_ = true;
    down_since_ns_ = 0;
    if (published != slot.published().load()) {
      if (slot.taken().load() != slot.published().load()) send_published();
    } else if (taken_there == published) {
      slot.taken().store(published);
    }
    return Status();
  }
  /// Says that what came last was taken, before a goodbye: in lock step nobody says so.
  void tell_taken() {
    if (!has_session_) return;
    const uint32_t word = incoming().taken().load();
    if (word != 0 && word == incoming().published().load()) send_taken();
  }

  bool is_client_ = false;
  Link link_;
  uint32_t channel_ = 0;  // its number on the present connection; 0: none
  uint32_t peer_capabilities_ = 0;
  uint64_t incarnation_ = 0;
  uint64_t id_ = 0;
  bool has_session_ = false;
  bool attached_ = false;
  int64_t down_since_ns_ = 0;
  Status ended_;
  SlotSession session_;
  Bytes pieces_;  // of an OPEN, OPENED or REFUSED

 private:
  void send_published() {
    if (!attached_) return;
    const Slot& slot = outgoing();
    const uint32_t word = slot.published().load();
    const uint8_t* message = slot.buffer(word & 1);
    MessageHeader header;
    std::memcpy(&header, message, sizeof header);
    const size_t total = message_header_bytes + header.payload_bytes;
    for (size_t offset = 0; offset < total; offset += max_body_bytes) {
      Frame frame;
      frame.type = FrameType::data;
      frame.channel = channel_;
      frame.incarnation = incarnation_;
      frame.session = id_;
      frame.sequence = header.sequence;
      frame.publication = word;
      frame.offset = static_cast<uint32_t>(offset);
      frame.total = static_cast<uint32_t>(total);
      link_.send(frame, message + offset, std::min<size_t>(max_body_bytes, total - offset));
    }
  }
  void send_taken() {
    if (!attached_) return;
    link_.send(FrameType::taken, Bytes(), channel_, incarnation_, id_, 0, incoming().taken().load());
  }
  Status take_data(const Frame& frame) {
    if (!frame.is_last()) {
      coming_ = frame.publication;
      coming_offset_ = frame.offset + frame.body_bytes;
      return Status();
    }
    const Slot& slot = incoming();
    MessageHeader header;
    std::memcpy(&header, slot.buffer(frame.publication & 1), sizeof header);
    if (message_header_bytes + static_cast<uint64_t>(header.payload_bytes) != frame.total ||
        header.incarnation != incarnation_ || header.session != id_) {
      return protocol_error("a message and its frame say different things");
    }
    // A reply implies that its request was taken, the next request that the reply was.
    outgoing().taken().store(outgoing().published().load());
    slot.published().store(frame.publication);
    return Status();
  }
  Status add_piece(const Frame& frame, const uint8_t* body) {
    if (frame.offset == 0) {
      pieces_.clear();
      pieces_total_ = frame.total;
    } else if (frame.offset != pieces_.size() || frame.total != pieces_total_) {
      return protocol_error("a piece does not follow the one before");
    }
    pieces_.insert(pieces_.end(), body, body + frame.body_bytes);
    return Status();
  }

  PrivateSlot request_;
  PrivateSlot reply_;
  uint32_t coming_ = 0;
  uint32_t coming_offset_ = 0;
  uint32_t pieces_total_ = 0;
  int64_t spin_ns_ = 50000;
};

/// Announces a channel to a bridge, and takes one client after the other.
class DirectServer final : public DirectEnd, public ServerEnd {
 public:
  ~DirectServer() override { close(Reason::closed); }

  /// Announces the channel, waiting for the bridge.
  Status create(const std::string& name, const std::string& token, Paradigm paradigm, uint32_t num_envs,
                double timeout, const StopFlag* stop) {
    auto address = Address::parse(name, false);
    if (!address) return address.status();
    if (Status status = link_.begin(address.value(), token, this); !status) return status;
    announcement_ = Value::map();
    announcement_.set("name", address.value().name);
    announcement_.set("paradigm", static_cast<uint32_t>(paradigm));
    announcement_.set("num_envs", num_envs);
    announcement_.set("capabilities", capability_records);
    char machine[256] = "";
    ::gethostname(machine, sizeof machine - 1);
    announcement_.set("machine", shortened(is_utf8(machine) ? machine : "", 64));
    announcement_.set("program", "C++ program");
    open_ = true;
    Deadline deadline(timeout, stop);
    while (!announced_) {
      link_.pump(deadline.left_ns());
      if (Status status = rejection(false); !status) return status;
      if (!link_.fatal().ok()) return link_.fatal();
      if (deadline.stopped()) return was_stopped();
      if (deadline.over()) return timed_out(name + " has no bridge: " + link_.problem());
    }
    return Status();
  }

  Status receive_hello(Hello& hello, Message& message, Deadline& deadline) override {
    while (!has_hello_) {
      link_.pump(deadline.left_ns());
      if (has_hello_) break;
      if (Status status = rejection(true); !status) return status;
      if (!link_.fatal().ok()) return link_.fatal();
      if (deadline.stopped()) return was_stopped();
      if (deadline.over()) return timed_out("no client came in time");
    }
    has_hello_ = false;
    message = Message();
    message.header.kind = static_cast<uint32_t>(MessageKind::hello);
    message.header.incarnation = hello_frame_.incarnation;
    message.header.session = hello_frame_.session;
    message.payload = hello_payload_.data();
    message.size = hello_payload_.size();
    return decode(message, hello);
  }

  Status refuse(const Message& hello, const Status& why, const StopFlag*) override {
    Bytes payload;
    if (Status status = encode_refusal(why, payload); !status) return status;
    if (channel_) {
      send_opening(FrameType::refused, 0, 0, 0, payload, hello.header.incarnation, hello.header.session);
    }
    return Status();
  }

  Status accept(const Message&, Welcome welcome, uint64_t incarnation, uint64_t session,
                uint32_t request_capacity, uint32_t reply_capacity, const StopFlag*) override {
    if (!channel_ || has_hello_) return Status(Code::peer_lost, "the client is gone already");
    welcome.generation = ++generation_;
    Bytes payload;
    if (Status status = encode(welcome, payload); !status) return status;
    make_slots(request_capacity, reply_capacity, incarnation, session);
    session_.begin(outgoing(), incoming(), this, welcome.max_message_bytes);
    session_.stamp(incarnation, session);
    send_opening(FrameType::opened, request_capacity, reply_capacity, generation_, payload, incarnation, session);
    return Status();
  }

  SlotSession& session() override { return session_; }
  uint32_t peer_capabilities() const override { return peer_capabilities_; }

  void close(Reason reason) override {
    if (!open_) return;
    open_ = false;
    if (channel_) {
      tell_taken();
      link_.send(FrameType::withdraw, Ending{EndState::closed, reason}.pack(), channel_);
    }
    link_.close();
  }

  // --------------------------------------------------------------------- as a LinkOwner

  void link_is_up() override { announce(); }
  void link_is_down() override {
    DirectEnd::link_is_down();
    announced_ = has_hello_ = false;
  }
  void idle() override {
    if (!rejection_.ok() && now_ns() >= announce_at_ns_) announce();
  }

 private:
  static constexpr uint32_t number = 1;  // the dialer's numbers are odd, and there is but one
  static constexpr int64_t announce_again_ns = 500000000;
  // How long a bridge may take our own old link for alive, and its name for taken.
  static constexpr int64_t taken_ns = 30 * ns_per_s;

  void announce() {
    announce_at_ns_ = now_ns() + announce_again_ns;
    channel_ = number;
    rejection_ = Status();
    link_.send(FrameType::announce, pack_map(announcement_), number);
    // The PONG comes after a REJECT would have come.
    const char mark[] = "announce";
    link_.send(FrameType::ping, Bytes(mark, mark + 8));
  }
  Status rejection(bool patient) {
    if (rejection_.ok()) return Status();
    if (patient && rejection_.code() == Code::busy && now_ns() - rejected_since_ns_ < taken_ns) return Status();
    return rejection_;
  }
  Status take_frame(const Frame& frame, const uint8_t* body) override {
    if (frame.type == FrameType::pong) {
      if (frame.body_bytes == 8 && std::memcmp(body, "announce", 8) == 0 && rejection_.ok()) {
        announced_ = true;
        rejected_since_ns_ = 0;
        link_.succeeded();
      }
      return Status();
    }
    if (frame.channel != number) return Status();  // channels of the bridge's own
    switch (frame.type) {
      case FrameType::reject:
        rejection_ = note_error(body, frame.body_bytes);
        channel_ = 0;
        if (rejected_since_ns_ == 0) rejected_since_ns_ = now_ns();
        return Status();
      case FrameType::resume: {
        const bool known = is_session(frame) && ended_.ok();
        if (!known) {
          // Not VANISHED: nobody knows whether its last request was run.
          link_.send(FrameType::lost, Ending{EndState::lost, Reason::link_down}.pack(), number,
                     frame.incarnation, frame.session);
          return Status();
        }
        link_.send(FrameType::resumed, slot_words(), number, incarnation_, id_);
        return resume(frame, body);
      }
      case FrameType::close:
      case FrameType::lost: {
        Ending ending;
        if (Status status = Ending::unpack(body, frame.body_bytes, ending); !status) return status;
        if (is_session(frame)) {
          end(ending, "the client");
        } else if (has_hello_ && frame.session == hello_frame_.session &&
                   frame.incarnation == hello_frame_.incarnation) {
          has_hello_ = false;
        }
        return Status();
      }
      default: return protocol_error("a frame came that is not for the server of a channel");
    }
  }
  Status take_opening(const Frame& frame) override {
    if (frame.channel != number) return Status();
    if (frame.type != FrameType::open) return protocol_error("an answer came to the server of a channel");
    peer_capabilities_ = opening().capabilities;
    hello_frame_ = frame;
    hello_payload_.assign(pieces_.begin() + opening_bytes, pieces_.end());
    has_hello_ = true;
    end(Status(Code::peer_lost, "the client was replaced by a newer one", Reason::replaced));
    return Status();
  }

  Value announcement_;
  bool open_ = false;
  bool announced_ = false;
  int64_t announce_at_ns_ = 0;
  Status rejection_;
  int64_t rejected_since_ns_ = 0;
  bool has_hello_ = false;
  Frame hello_frame_;
  Bytes hello_payload_;
  uint32_t generation_ = 0;
};

/// Finds a channel at a bridge and greets its server.
class DirectClient final : public DirectEnd, public ClientEnd {
 public:
  DirectClient() { is_client_ = true; }
  ~DirectClient() override { close(Reason::closed); }

  /// Takes note of what to look for; `seek` does it. `group`: whether the members of the
  /// group `name.*` count as well where the channel is taken.
  Status begin(const std::string& address, const std::string& token, bool group) {
    auto parsed = Address::parse(address, true);
    if (!parsed) return parsed.status();
    if (Status status = link_.begin(parsed.value(), token, this); !status) return status;
    wanted_ = name_ = parsed.value().name;
    group_ = group && wanted_.back() != '*';
    open_ = true;
    return Status();
  }
  /// Makes as much headway as is possible without waiting.
  Status seek(bool& found) {
    for (int i = 0; i < 100 && !found_; ++i) {
      if (link_.up() && !question_ && now_ns() >= ask_at_ns_) ask();
      if (!link_.pump(0)) break;
    }
    found = found_;
    return link_.fatal();
  }
  /// Whether the channel was found and is taken.
  bool is_busy() const { return busy_; }
  Paradigm paradigm() const { return paradigm_; }
  std::string problem() const {
    if (!link_.up()) return "no channel " + quoted(wanted_) + ": " + link_.problem();
    return missing_.empty() ? "the bridge at " + link_.address().endpoint() + " says nothing of " + quoted(wanted_)
                            : missing_;
  }

  void begin_hello(const Bytes& payload, uint64_t incarnation, uint64_t session) override {
    hello_ = payload;
    incarnation_ = incarnation;
    id_ = session;
    answered_ = false;
    if (channel_) send_opening(FrameType::open, 0, 0, 0, hello_, incarnation_, id_);
  }
  Status continue_hello() override {
    link_.pump(0);
    return answered_ ? Status() : state();
  }
  Status look_for_welcome(Welcome& welcome, uint64_t& incarnation, uint64_t& session, bool& there) override {
    there = answered_;
    if (!answered_) return Status();
    answered_ = false;
    Message message;
    message.payload = answer_.data();
    message.size = answer_.size();
    if (refused_) return decode_refusal(message);
    incarnation = incarnation_;
    session = id_;
    return decode(message, welcome);
  }
  void rest(int64_t duration_ns) override { link_.pump(duration_ns); }
  Status attach(const Welcome& welcome, uint64_t incarnation, uint64_t session, size_t request_area,
                size_t reply_area) override {
    if (outgoing().capacity < request_area || incoming().capacity < reply_area) {
      return Status(Code::corrupt, "the slots of " + quoted(name_) + " are smaller than its messages");
    }
    session_.begin(outgoing(), incoming(), this, std::min(welcome.max_message_bytes, default_max_message_bytes));
    session_.stamp(incarnation, session);
    return Status();
  }
  SlotSession& session() override { return session_; }
  uint32_t peer_capabilities() const override { return peer_capabilities_; }
  Status check() override { return DirectEnd::check(); }
  const std::string& name() const override { return name_; }

  void close(Reason reason) override {
    if (!open_) return;
    open_ = false;
    if (channel_ && (has_session_ || !hello_.empty())) {
      tell_taken();
      link_.send(FrameType::close, Ending{EndState::closed, reason}.pack(), channel_, incarnation_, id_);
    }
    link_.close();
  }

  // --------------------------------------------------------------------- as a LinkOwner

  void link_is_up() override {
    question_ = 0;
    ask_pause_ns_ = first_pause_ns;
    ask();
  }
  void link_is_down() override {
    DirectEnd::link_is_down();
    question_ = 0;
    if (!has_session_ && hello_.empty()) found_ = false;
  }
  void idle() override {
    if (found_ && !channel_ && !question_ && ended_.ok() && now_ns() >= ask_at_ns_) ask();
  }

 private:
  static constexpr int64_t first_pause_ns = 20000000;
  static constexpr int64_t last_pause_ns = 500000000;
  // How long a bridge that is back may take to know the channel of a session again.
  static constexpr int64_t gone_ns = 5 * ns_per_s;

  void ask() {
    ask_at_ns_ = now_ns() + ask_pause_ns_;
    ask_pause_ns_ = std::min(2 * ask_pause_ns_, last_pause_ns);
    question_ = ++questions_;
    // A channel that is taken may have a free place in its group.
    const bool ask_group = group_ && busy_ && !found_ && questions_ % 2 == 0;
    Value map = Value::map();
    map.set("name", found_ ? name_ : ask_group ? wanted_ + ".*" : wanted_);
    link_.send(FrameType::find, pack_map(map), 0, 0, 0, question_);
  }
  Status take_frame(const Frame& frame, const uint8_t* body) override {
    if (frame.type == FrameType::announce || frame.type == FrameType::not_found) {
      if (question_ == 0 || frame.sequence != question_) return Status();
      question_ = 0;
      return frame.type == FrameType::announce ? take_announcement(frame, body) : take_not_found(frame, body);
    }
    if (!channel_ || frame.channel != channel_) return Status();
    switch (frame.type) {
      case FrameType::resumed: return is_session(frame) ? resume(frame, body) : Status();
      case FrameType::lost:
      case FrameType::withdraw: {
        Ending ending;
        if (Status status = Ending::unpack(body, frame.body_bytes, ending); !status) return status;
        if (frame.type == FrameType::withdraw || is_session(frame)) end(ending, "the server of the channel");
        if (frame.type == FrameType::withdraw) {
          channel_ = 0;
          found_ = false;
        }
        return Status();
      }
      case FrameType::pong: return Status();
      default: return protocol_error("a frame came that is not for the client of a channel");
    }
  }
  Status take_announcement(const Frame& frame, const uint8_t* body) {
    Value map;
    if (Status status = unpack_map(body, frame.body_bytes, map); !status) return status;
    Fields fields(map);
    const std::string name = fields.get("name", Value::Kind::text).text();
    paradigm_ = static_cast<Paradigm>(fields.count("paradigm", 2, 1));
    peer_capabilities_ = static_cast<uint32_t>(fields.count("capabilities", UINT32_MAX));
    if (!is_channel_name(name) || frame.channel == 0) fields.refuse("a channel's name");
    if (Status status = fields.status(); !status) return status;
    channel_ = frame.channel;
    link_.succeeded();
    name_ = name;
    found_ = true;
    busy_ = false;
    missing_since_ns_ = 0;
    if (has_session_) {
      link_.send(FrameType::resume, slot_words(), channel_, incarnation_, id_);
    } else {
      down_since_ns_ = 0;
      if (!hello_.empty()) send_opening(FrameType::open, 0, 0, 0, hello_, incarnation_, id_);
    }
    return Status();
  }
  Status take_not_found(const Frame& frame, const uint8_t* body) {
    const Status note = note_error(body, frame.body_bytes);
    if (has_session_) {  // the bridge may have been restarted
      if (missing_since_ns_ == 0) missing_since_ns_ = now_ns();
      if (now_ns() - missing_since_ns_ > gone_ns) end(Ending{EndState::lost, Reason::link_down}, "the server");
      return Status();
    }
    busy_ = note.code() == Code::busy;
    missing_ = "no channel " + quoted(wanted_) + " at the bridge " + link_.address().endpoint() + " (" +
               note.message() + ")";
    const bool passes = busy_ || note.code() == Code::not_found || note.code() == Code::draining;
    return passes ? Status() : note;
  }
  Status take_opening(const Frame& frame) override {
    if (!channel_ || frame.channel != channel_ || hello_.empty()) return Status();
    if (frame.type == FrameType::open) return protocol_error("an OPEN came to the client of a channel");
    const bool ours = (incarnation_ == 0 || incarnation_ == frame.incarnation) &&
                      (id_ == 0 || id_ == frame.session);
    if (!ours) return Status();
    const Opening said = opening();
    answer_.assign(pieces_.begin() + opening_bytes, pieces_.end());
    hello_.clear();
    answered_ = true;
    refused_ = frame.type == FrameType::refused;
    if (refused_) return Status();
    peer_capabilities_ = said.capabilities;
    for (const uint32_t capacity : {said.request_capacity, said.reply_capacity}) {
      if (capacity == 0 || capacity % payload_alignment || capacity > max_slot_payload_bytes) {
        return protocol_error("a capacity of slots is not sound");
      }
    }
    // From now on there is a session, in which the server may speak at once.
    make_slots(said.request_capacity, said.reply_capacity, frame.incarnation, frame.session);
    return Status();
  }

  std::string wanted_;
  std::string name_;
  bool group_ = false;
  bool open_ = false;
  bool found_ = false;
  bool busy_ = false;
  std::string missing_;
  int64_t missing_since_ns_ = 0;
  Paradigm paradigm_ = Paradigm::client_env;
  uint32_t question_ = 0;
  uint32_t questions_ = 0;
  int64_t ask_at_ns_ = 0;
  int64_t ask_pause_ns_ = first_pause_ns;
  Bytes hello_;
  Bytes answer_;
  bool answered_ = false;
  bool refused_ = false;
};

}  // namespace rlay::detail
