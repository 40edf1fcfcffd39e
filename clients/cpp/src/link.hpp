// A link to a bridge that is made again whenever it breaks, without a thread.

#pragma once

#include "files.hpp"
#include "frames.hpp"

namespace rlay::detail {

#if defined(_WIN32)
using Socket = SOCKET;
inline constexpr Socket no_socket = INVALID_SOCKET;
inline void close_socket(Socket socket) { ::closesocket(socket); }
inline int socket_error() { return ::WSAGetLastError(); }
inline bool would_block(int error) { return error == WSAEWOULDBLOCK; }
inline bool in_progress(int error) { return error == WSAEWOULDBLOCK; }
inline std::string socket_text(int error) { return "error " + std::to_string(error); }
inline void set_nonblocking(Socket socket) {
  u_long on = 1;
  ::ioctlsocket(socket, FIONBIO, &on);
}
inline int poll_socket(Socket socket, bool writing, int64_t wait_ns) {
  WSAPOLLFD entry{socket, static_cast<SHORT>(POLLIN | (writing ? POLLOUT : 0)), 0};
  return ::WSAPoll(&entry, 1, static_cast<int>((wait_ns + 999999) / 1000000));
}
struct SocketLibrary {
  SocketLibrary() {
    WSADATA data;
    ::WSAStartup(MAKEWORD(2, 2), &data);
  }
};
inline void use_sockets() { static const SocketLibrary library; }
inline int64_t receive_some(Socket socket, void* target, size_t room) {
  return ::recv(socket, static_cast<char*>(target), static_cast<int>(std::min<size_t>(room, INT_MAX)), 0);
}
inline int64_t send_some(Socket socket, const void* data, size_t size) {
  return ::send(socket, static_cast<const char*>(data), static_cast<int>(std::min<size_t>(size, INT_MAX)), 0);
}
#else
using Socket = int;
inline constexpr Socket no_socket = -1;
inline void close_socket(Socket socket) { ::close(socket); }
inline int socket_error() { return errno; }
inline bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }
inline bool in_progress(int error) { return error == EINPROGRESS || error == EINTR; }
inline std::string socket_text(int error) { return system_text(error); }
inline void set_nonblocking(Socket socket) {
  ::fcntl(socket, F_SETFL, ::fcntl(socket, F_GETFL) | O_NONBLOCK);
  ::fcntl(socket, F_SETFD, FD_CLOEXEC);
}
inline int poll_socket(Socket socket, bool writing, int64_t wait_ns) {
  pollfd entry{socket, static_cast<short>(POLLIN | (writing ? POLLOUT : 0)), 0};
  return ::poll(&entry, 1, static_cast<int>((wait_ns + 999999) / 1000000));
}
inline void use_sockets() {}
inline int64_t receive_some(Socket socket, void* target, size_t room) { return ::recv(socket, target, room, 0); }
inline int64_t send_some(Socket socket, const void* data, size_t size) {
#if defined(MSG_NOSIGNAL)
  return ::send(socket, data, size, MSG_NOSIGNAL);
#else
  return ::send(socket, data, size, 0);  // SO_NOSIGPIPE is set
#endif
}
#endif

/// A channel at a bridge: tcp://host:port/name.
struct Address {
  std::string host;
  std::string port = "7450";
  std::string name;

  std::string endpoint() const { return host + ":" + port; }

  static Result<Address> parse(const std::string& text, bool group) {
    const auto wrong = [&text](const std::string& why) {
      return Status(Code::misuse, quoted(text) + " is no address of a channel: " + why);
    };
    if (text.rfind("tcp://", 0) != 0) {
      return Status(Code::unsupported,
                    quoted(text) + ": this client attaches by tcp:// only; where the way to the bridge must be "
                                   "secret, run a bridge on this machine and name the channel");
    }
    const std::string rest = text.substr(6);
    const size_t slash = rest.find('/');
    if (slash == std::string::npos) return wrong("it names no channel: write one behind the port, as in /x");
    Address address;
    address.name = rest.substr(slash + 1);
    std::string place = rest.substr(0, slash);
    if (!place.empty() && place[0] == '[') {
      const size_t end = place.find(']');
      if (end == std::string::npos) return wrong("a bracket is not closed");
      address.host = place.substr(1, end - 1);
      place = place.substr(end + 1);
    } else {
      const size_t colon = place.find(':');
      address.host = place.substr(0, colon);
      place = colon == std::string::npos ? "" : place.substr(colon);
    }
    if (!place.empty()) address.port = place.substr(1);
    const bool digits = !address.port.empty() && address.port.size() <= 5 &&
                        address.port.find_first_not_of("0123456789") == std::string::npos;
    if (address.host.empty() || !digits || (!place.empty() && place[0] != ':') ||
        std::atoi(address.port.c_str()) < 1 || std::atoi(address.port.c_str()) > 65535) {
      return wrong("a host and a port are meant, as in tcp://localhost:7450/x");
    }
    std::string base = address.name;
    if (group && base.size() > 2 && base.substr(base.size() - 2) == ".*") base.resize(base.size() - 2);
    if (Status status = check_channel_name(base); !status) return wrong(status.message());
    return address;
  }
};

/// Reads a token: given, or the file of RLAY_TOKEN_FILE.
inline Status load_token(const std::string& given, Bytes& token) {
  token.assign(given.begin(), given.end());
  if (given.empty()) {
    const char* path = std::getenv("RLAY_TOKEN_FILE");
    if (!path || !*path) return Status();
    std::FILE* file = std::fopen(path, "rb");
    if (!file) return Status(Code::auth, std::string("the token ") + path + " cannot be opened");
    char buffer[4097];
    const size_t size = std::fread(buffer, 1, sizeof buffer, file);
    std::fclose(file);
    token.assign(buffer, buffer + size);
    if (!token.empty() && token.back() == '\n') token.pop_back();
    if (!token.empty() && token.back() == '\r') token.pop_back();
  }
  if (token.size() < min_token_bytes || token.size() > 4096) {
    return Status(Code::auth, "a token has 16 to 4096 bytes: make one with rlay token new");
  }
  return Status();
}

/// Whom a link serves. It is called from `Link::pump` only.
class LinkOwner {
 public:
  virtual ~LinkOwner() = default;
  virtual void link_is_up() = 0;
  virtual void link_is_down() = 0;
  /// Where the body of a DATA goes: nullptr where it is dropped.
  virtual Status place(const Frame& frame, uint8_t*& target) = 0;
  /// Takes a frame, its body complete; that of a placed one is where it was placed.
  virtual Status deliver(const Frame& frame, const uint8_t* body) = 0;
  /// Called now and then while nothing comes.
  virtual void idle() {}
};

/// Frames to and from a bridge. Whoever waits drives it, by `pump`.
class Link {
 public:
  Link() = default;
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link() { drop(); }

  Status begin(Address address, const std::string& token, LinkOwner* owner) {
    use_sockets();
    address_ = std::move(address);
    owner_ = owner;
    greeting_.id = draw_id();
    char name[256] = "";
    ::gethostname(name, sizeof name - 1);
    greeting_.machine = shortened(is_utf8(name) ? name : "", 64);
    greeting_.crc = address_.host != "127.0.0.1" && address_.host != "localhost" && address_.host != "::1";
    return load_token(token, greeting_.token);
  }

  const Address& address() const { return address_; }
  bool up() const { return state_ == State::up; }
  bool has_crc() const { return greeting_.has_crc; }
  /// An error that another attempt does not mend: a wrong token, another version.
  const Status& fatal() const { return fatal_; }
  const std::string& problem() const { return problem_; }
  int64_t resume_window_ns() const { return greeting_.resume_window_ms * 1000000; }
  /// Dial again soon, should this connection break: it was of use.
  void succeeded() { pause_ns_ = first_pause_ns; }

  /// Does what there is to do; returns whether anything came or changed. Waits no longer
  /// than `wait_ns`, but for the look-up of a host's name.
  bool pump(int64_t wait_ns) {
    if (closed_ || !fatal_.ok()) {
      sleep_ns(wait_ns);
      return false;
    }
    switch (state_) {
      case State::resting: return dial(wait_ns);
      case State::connecting: return connect_further(wait_ns);
      default: return exchange(wait_ns);
    }
  }

  void send(Frame frame, const uint8_t* body, size_t size) {
    if (state_ == State::resting || state_ == State::connecting || closed_) return;
    frame.body_bytes = static_cast<uint32_t>(size);
    if (frame.total == 0) frame.total = static_cast<uint32_t>(size);
    if (state_ == State::up && greeting_.has_crc && size) {
      frame.flags = frame_flag_crc;
      frame.body_crc = crc32(body, size);
    }
    seal(frame);
    write(reinterpret_cast<const uint8_t*>(&frame), sizeof frame, body, size);
  }
  void send(FrameType type, const Bytes& body, uint32_t channel = 0, uint64_t incarnation = 0,
            uint64_t session = 0, uint32_t sequence = 0, uint32_t publication = 0) {
    Frame frame;
    frame.type = type;
    frame.channel = channel;
    frame.incarnation = incarnation;
    frame.session = session;
    frame.sequence = sequence;
    frame.publication = publication;
    send(frame, body.data(), body.size());
  }

  /// Sends what waits, says goodbye and closes, within two seconds. Twice is harmless.
  void close() {
    if (closed_) return;
    if (up()) {
      const int64_t until = now_ns() + 2 * ns_per_s;
      send(FrameType::bye, Ending{EndState::closed, Reason::closed}.pack());
      while (!flush() && now_ns() < until) poll_socket(socket_, true, slice_ns);
#if defined(_WIN32)
      ::shutdown(socket_, SD_SEND);
#else
      ::shutdown(socket_, SHUT_WR);
#endif
      // A connection that is closed with bytes unread takes the last words with it.
      char rest[4096];
      while (now_ns() < until) {
        const auto got = receive_some(socket_, rest, sizeof rest);
        if (got == 0 || (got < 0 && !would_block(socket_error()))) break;
        if (got < 0) poll_socket(socket_, false, slice_ns);
      }
    }
    drop();
  }
  void drop() {
    closed_ = true;
    disconnect();
  }

 private:
  enum class State : uint8_t { resting, connecting, challenged, proving, up };

  static constexpr int64_t first_pause_ns = 100000000;
  static constexpr int64_t last_pause_ns = 5 * ns_per_s;
  static constexpr int64_t stage_ns = 5 * ns_per_s;
  static constexpr int64_t not_looked_ns = ns_per_s;

  // ------------------------------------------------------------------------ dialing

  bool dial(int64_t wait_ns) {
    const int64_t now = now_ns();
    if (now < rest_until_ns_) {
      sleep_ns(std::min(wait_ns, rest_until_ns_ - now));
      return false;
    }
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    const int failed = ::getaddrinfo(address_.host.c_str(), address_.port.c_str(), &hints, &found);
    if (failed || !found) {
      rest("the name " + quoted(address_.host) + " is not known");
      return false;
    }
    // Each attempt takes the next of a name's addresses.
    addrinfo* chosen = found;
    for (size_t i = attempts_++; i > 0; --i) chosen = chosen->ai_next ? chosen->ai_next : found;
    socket_ = ::socket(chosen->ai_family, chosen->ai_socktype, chosen->ai_protocol);
    bool failed_at_once = socket_ == no_socket;
    if (!failed_at_once) {
      set_nonblocking(socket_);
#if RLAY_MAPPED_FILES
      ForkGuard::add(socket_);
      generation_ = ForkGuard::generation();
#endif
      failed_at_once = ::connect(socket_, chosen->ai_addr, static_cast<socklen_t>(chosen->ai_addrlen)) != 0 &&
                       !in_progress(socket_error());
    }
    const std::string why = failed_at_once ? socket_text(socket_error()) : "";
    ::freeaddrinfo(found);
    if (failed_at_once) {
      rest("no bridge answers at " + address_.endpoint() + ": " + why);
      return false;
    }
    state_ = State::connecting;
    stage_until_ns_ = now_ns() + stage_ns;
    return connect_further(wait_ns);
  }

  bool connect_further(int64_t wait_ns) {
#if defined(_WIN32)
    WSAPOLLFD entry{socket_, POLLOUT, 0};
    const int ready = ::WSAPoll(&entry, 1, static_cast<int>(wait_ns / 1000000));
#else
    pollfd entry{socket_, POLLOUT, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>((wait_ns + 999999) / 1000000));
#endif
    if (ready <= 0) {
      if (now_ns() > stage_until_ns_) rest(address_.endpoint() + " does not answer");
      return false;
    }
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket_, SOL_SOCKET, SO_ERROR, reinterpret_cast<char*>(&error), &size);
    if (error) {
      rest("no bridge answers at " + address_.endpoint() + ": " + socket_text(error));
      return false;
    }
    set_options();
    received_ = handled_ = header_filled_ = 0;
    body_left_ = 0;
    in_body_ = false;
    pending_.clear();
    state_ = State::challenged;
    stage_until_ns_ = now_ns() + stage_ns;
    greeting_.nonce.clear();
    std::random_device device;
    for (size_t i = 0; i < nonce_bytes; ++i) greeting_.nonce.push_back(static_cast<uint8_t>(device()));
    send(FrameType::hello, greeting_.write_hello());
    return true;
  }

  void set_options() {
    const int on = 1;
    const auto set = [this](int level, int option, int value) {
      ::setsockopt(socket_, level, option, reinterpret_cast<const char*>(&value), sizeof value);
    };
    set(IPPROTO_TCP, TCP_NODELAY, on);
    set(SOL_SOCKET, SO_KEEPALIVE, on);
#if defined(__linux__)
    set(IPPROTO_TCP, TCP_KEEPIDLE, 5);
    set(IPPROTO_TCP, TCP_KEEPINTVL, 2);
    set(IPPROTO_TCP, TCP_KEEPCNT, 3);
    set(IPPROTO_TCP, TCP_USER_TIMEOUT, 10000);
#endif
#if defined(SO_NOSIGPIPE)
    set(SOL_SOCKET, SO_NOSIGPIPE, on);
#endif
  }

  void disconnect() {
    if (socket_ != no_socket) {
#if RLAY_MAPPED_FILES
      if (generation_ == ForkGuard::generation()) {
        ForkGuard::remove(socket_);
        close_socket(socket_);
      }
#else
      close_socket(socket_);
#endif
    }
    socket_ = no_socket;
    state_ = State::resting;
  }

  /// Gives a connection up; the next attempt follows after a pause that grows.
  void rest(std::string problem) {
    const bool was_up = up();
    problem_ = std::move(problem);
    disconnect();
    const auto part = static_cast<double>(draw_id() % 1000) / 2000.0;
    rest_until_ns_ = now_ns() + static_cast<int64_t>(static_cast<double>(pause_ns_) * (0.5 + part));
    pause_ns_ = std::min(2 * pause_ns_, last_pause_ns);
    if (was_up) owner_->link_is_down();
  }
  void give_up(Status why) {
    Value note = Value::map();
    note.set("code", static_cast<uint32_t>(why.code()));
    note.set("message", shortened(why.message(), 700));
    if (why.code() == Code::version) note.set("version", 1);
    if (static_cast<uint32_t>(why.code()) < 0x8000 && socket_ != no_socket) {
      send(FrameType::error, pack_map(note));
      flush();
    }
    const bool final = why.code() == Code::auth || why.code() == Code::version;
    const std::string text = "the link to " + address_.endpoint() + " broke: " + why.message();
    if (final) fatal_ = Status(why.code(), text);
    rest(text);
  }

  // ------------------------------------------------------------------------ sending

  void write(const uint8_t* head, size_t head_bytes, const uint8_t* body, size_t body_bytes) {
    if (pending_.empty() && head_bytes + body_bytes <= sizeof small_) {
      // One system call, and one packet, for what is small.
      std::memcpy(small_, head, head_bytes);
      if (body_bytes) std::memcpy(small_ + head_bytes, body, body_bytes);
      const size_t total = head_bytes + body_bytes;
      const size_t sent = write_now(small_, total);
      pending_.insert(pending_.end(), small_ + sent, small_ + total);
      return;
    }
    if (pending_.empty()) {
      const size_t sent = write_now(head, head_bytes);
      head += sent;
      head_bytes -= sent;
      if (head_bytes == 0) {
        const size_t more = write_now(body, body_bytes);
        body += more;
        body_bytes -= more;
      }
    }
    pending_.insert(pending_.end(), head, head + head_bytes);
    if (body_bytes) pending_.insert(pending_.end(), body, body + body_bytes);
  }
  size_t write_now(const uint8_t* data, size_t size) {
    size_t sent = 0;
    while (sent < size) {
      const auto done = send_some(socket_, data + sent, size - sent);
      if (done <= 0) break;  // reading finds out where the connection is gone
      sent += static_cast<size_t>(done);
    }
    return sent;
  }
  /// Whether nothing waits any more.
  bool flush() {
    const size_t sent = write_now(pending_.data(), pending_.size());
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(sent));
    return pending_.empty();
  }

  // ---------------------------------------------------------------------- receiving

  bool exchange(int64_t wait_ns) {
    const auto waiting = [this] { return !pending_.empty() && !flush(); };
    bool blocked = waiting();
    uint8_t* target = buffer_;
    size_t room = sizeof buffer_;
    received_ = handled_ = 0;
    if (in_body_ && body_at_) {  // the rest of a large body goes where it belongs
      target = body_at_;
      room = body_left_;
    }
    auto got = receive_some(socket_, target, room);
    if (got < 0 && would_block(socket_error()) && wait_ns > 0) {
      poll_socket(socket_, blocked, wait_ns);
      if (blocked) blocked = waiting();
      got = receive_some(socket_, target, room);
    }
    if (got < 0 && would_block(socket_error())) {
      nothing_came();
      return false;
    }
    if (got <= 0) {
      if (state_ != State::up && ++silent_ends_ >= 3) {
        give_up(Status(Code::auth, "the bridge ends the greeting: a certificate, a token or a limit"));
      } else {
        rest("the bridge at " + address_.endpoint() + " ended the connection");
      }
      return true;
    }
    quiet_since_ns_ = 0;
    Status status;
    if (target == body_at_ && in_body_) {
      body_at_ += got;
      body_left_ -= static_cast<size_t>(got);
      if (body_left_ == 0) status = finish_frame();
    } else {
      received_ = static_cast<size_t>(got);
      status = handle();
    }
    if (!status) give_up(std::move(status));
    return true;
  }

  /// Takes frames out of what was received.
  Status handle() {
    while (handled_ < received_) {
      if (!in_body_) {
        const size_t part = std::min(received_ - handled_, frame_header_bytes - header_filled_);
        std::memcpy(header_ + header_filled_, buffer_ + handled_, part);
        header_filled_ += part;
        handled_ += part;
        if (header_filled_ < frame_header_bytes) break;
        header_filled_ = 0;
        std::memcpy(&frame_, header_, sizeof frame_);
        if (Status status = begin_frame(); !status) return status;
        if (body_left_ > 0) continue;
      } else {
        const size_t part = std::min(received_ - handled_, body_left_);
        if (body_at_) {
          std::memcpy(body_at_, buffer_ + handled_, part);
          body_at_ += part;
        }
        body_left_ -= part;
        handled_ += part;
        if (body_left_ > 0) break;
      }
      if (Status status = finish_frame(); !status) return status;
      if (state_ == State::resting) break;
    }
    return Status();
  }

  Status begin_frame() {
    if (Status status = check_frame(frame_); !status) return status;
    const auto type = static_cast<uint8_t>(frame_.type);
    if (state_ != State::up) {
      const FrameType awaited = state_ == State::challenged ? FrameType::challenge : FrameType::welcome;
      if (frame_.type != awaited && frame_.type != FrameType::error) {
        return protocol_error("a frame came that is not awaited in the greeting");
      }
    } else if (type <= 4) {
      return protocol_error("a frame of the greeting came after it");
    }
    in_body_ = true;
    body_left_ = frame_.body_bytes;
    uint8_t* target = nullptr;
    if (frame_.type == FrameType::data) {
      if (Status status = owner_->place(frame_, target); !status) return status;
      dropped_ = target == nullptr;
    } else {
      dropped_ = false;
      body_.resize(frame_.body_bytes);
      target = body_.data();
    }
    body_begin_ = body_at_ = target;
    return Status();
  }

  Status finish_frame() {
    in_body_ = false;
    if (dropped_) return Status();
    const uint8_t* body = body_begin_;
    if ((frame_.flags & frame_flag_crc) && crc32(body, frame_.body_bytes) != frame_.body_crc) {
      return Status(Code::corrupt, "the body of a frame was damaged on its way");
    }
    if (frame_.type == FrameType::data && greeting_.has_crc && !(frame_.flags & frame_flag_crc)) {
      return protocol_error("a message came without the CRC that was agreed upon");
    }
    const size_t size = frame_.body_bytes;
    switch (frame_.type) {
      case FrameType::error: return note_error(body, size);
      case FrameType::challenge: {
        Bytes proof;
        if (Status status = greeting_.answer(body, size, proof); !status) return status;
        state_ = State::proving;
        send(FrameType::proof, proof);
        return Status();
      }
      case FrameType::welcome:
        if (Status status = greeting_.finish(body, size); !status) return status;
        state_ = State::up;
        silent_ends_ = 0;
        quiet_since_ns_ = looked_ns_ = now_ns();
        owner_->link_is_up();
        return Status();
      case FrameType::ping:
        if (size != 8) return protocol_error("a PING is malformed");
        send(FrameType::pong, Bytes(body, body + size));
        return Status();
      case FrameType::bye: return Status(Code::peer_closed, "the bridge said goodbye");
      case FrameType::drain: return Status();
      default: return owner_->deliver(frame_, body);
    }
  }

  void nothing_came() {
    const int64_t now = now_ns();
    if (state_ != State::up) {
      if (now > stage_until_ns_) rest("the bridge at " + address_.endpoint() + " does not greet");
      return;
    }
    // Who looks more rarely cannot know for how long nothing came.
    if (quiet_since_ns_ == 0 || now - looked_ns_ > not_looked_ns) quiet_since_ns_ = pinged_ns_ = now;
    looked_ns_ = now;
    if (now - quiet_since_ns_ >= greeting_.dead_after_ms * 1000000) {
      rest("nothing came from " + address_.endpoint() + " for " +
           std::to_string(greeting_.dead_after_ms) + " ms");
      return;
    }
    if (now - pinged_ns_ >= greeting_.heartbeat_ms * 1000000) {
      pinged_ns_ = now;
      send(FrameType::ping, Bytes(8));
    }
    owner_->idle();
  }

  Address address_;
  LinkOwner* owner_ = nullptr;
  LinkGreeting greeting_;
  State state_ = State::resting;
  Socket socket_ = no_socket;
  uint32_t generation_ = 0;
  bool closed_ = false;
  Status fatal_;
  std::string problem_ = "no bridge has answered yet";
  size_t attempts_ = 0;
  int silent_ends_ = 0;
  int64_t pause_ns_ = first_pause_ns;
  int64_t rest_until_ns_ = 0;
  int64_t stage_until_ns_ = 0;
  int64_t quiet_since_ns_ = 0;
  int64_t looked_ns_ = 0;
  int64_t pinged_ns_ = 0;
  Bytes pending_;
  uint8_t small_[4096];

  uint8_t buffer_[65536];
  size_t received_ = 0;
  size_t handled_ = 0;
  uint8_t header_[frame_header_bytes];
  size_t header_filled_ = 0;
  Frame frame_;
  bool in_body_ = false;
  bool dropped_ = false;
  size_t body_left_ = 0;
  uint8_t* body_begin_ = nullptr;
  uint8_t* body_at_ = nullptr;
  Bytes body_;
};

}  // namespace rlay::detail
