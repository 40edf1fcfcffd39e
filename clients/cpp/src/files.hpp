// The directory of channels, its files, mapped memory and locks.

#pragma once

#include "forks.hpp"

namespace rlay::detail {

/// Whether a channel may have this name.
inline bool is_channel_name(std::string_view name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  if (name.empty() || name.size() > max_name_length || !plain(name[0])) return false;
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return plain(c) || c == '.' || c == '_' || c == '-'; });
}

inline Status check_channel_name(std::string_view name) {
  if (is_channel_name(name)) return Status();
  return Status(Code::misuse, quoted(name) +
                                  " is no name of a channel: letters, digits, dots, dashes and "
                                  "underscores, at most 64, the first a letter or digit");
}

}  // namespace rlay::detail

#if RLAY_MAPPED_FILES

namespace rlay::detail {

inline Status file_error(int error, const std::string& path) {
  const std::string text = path + ": " + system_text(error);
  switch (error) {
    case ENOENT: return Status(Code::not_found, text);
    case EACCES:
    case EPERM: return Status(Code::permission, text);
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM: return Status(Code::no_space, text + ": make room, or choose another RLAY_DIR");
    case ELOOP:
    case ENOTDIR: return Status(Code::corrupt, text);
    default: return Status(Code::system, text);
  }
}

/// Memory that is mapped, shared and writable.
class Mapping {
 public:
  Mapping() = default;
  Mapping(uint8_t* data, size_t size) : data_(data), size_(size) {}
  Mapping(Mapping&& other) noexcept : data_(other.data_), size_(other.size_) { other.data_ = nullptr; }
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      unmap();
      data_ = other.data_;
      size_ = other.size_;
      other.data_ = nullptr;
    }
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { unmap(); }

  uint8_t* data() const { return data_; }
  size_t size() const { return data_ ? size_ : 0; }
  /// Forgets the memory: who gave it keeps it.
  void release() { data_ = nullptr; }
  void unmap() {
    if (data_) ::munmap(data_, size_);
    data_ = nullptr;
  }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

inline constexpr int directory_flags = O_RDONLY | O_CLOEXEC | O_DIRECTORY;
inline constexpr int file_flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;

inline bool is_private_directory(int fd) {
  struct stat facts;
  return ::fstat(fd, &facts) == 0 && S_ISDIR(facts.st_mode) && facts.st_uid == ::geteuid() &&
         (facts.st_mode & 0077) == 0;
}

/// Opens a file that must be a plain file of ours alone.
inline Result<int> open_plain(int directory, const std::string& name, const std::string& path) {
  const int fd = ::openat(directory, name.c_str(), O_RDWR | file_flags);
  if (fd < 0) return file_error(errno, path);
  struct stat facts;
  if (::fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode) || facts.st_nlink > 1) {
    ::close(fd);
    return Status(Code::corrupt, path + " is not a plain file with one name: remove it by hand if it "
                                        "is not needed");
  }
  if (facts.st_uid != ::geteuid() || (facts.st_mode & 0077)) {
    ::close(fd);
    return Status(Code::permission, path + " is not this user's alone: it must have mode 0600");
  }
  return fd;
}

inline Result<Mapping> map_file(int fd, size_t size, const std::string& path) {
  int flags = MAP_SHARED;
#if defined(MAP_POPULATE)
  flags |= MAP_POPULATE;
#endif
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (data == MAP_FAILED) return file_error(errno, path);
  return Mapping(static_cast<uint8_t*>(data), size);
}

/// Makes a file of zeros with all its room taken, and maps it.
inline Result<Mapping> create_mapped(int directory, const std::string& name, const std::string& path,
                                     size_t size) {
  const int fd = ::openat(directory, name.c_str(), O_RDWR | O_CREAT | O_EXCL | file_flags, 0600);
  if (fd < 0) return file_error(errno, path);
#if defined(__APPLE__)
  const int error = ::ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : errno;
#else
  int error;
  do {
    error = ::posix_fallocate(fd, 0, static_cast<off_t>(size));
  } while (error == EINTR);
#endif
  auto mapping = error ? Result<Mapping>(file_error(error, path)) : map_file(fd, size, path);
  ::close(fd);
  if (!mapping) ::unlinkat(directory, name.c_str(), 0);
  return mapping;
}

/// Maps a file that must have at least so many bytes.
inline Result<Mapping> open_mapped(int directory, const std::string& name, const std::string& path,
                                   size_t least) {
  auto opened = open_plain(directory, name, path);
  if (!opened) return opened.status();
  const int fd = opened.value();
  struct stat facts;
  Result<Mapping> mapping = Status(Code::corrupt, path + " is shorter than it must be");
  if (::fstat(fd, &facts) == 0 && facts.st_size >= 0 && static_cast<uint64_t>(facts.st_size) >= least) {
    mapping = map_file(fd, static_cast<size_t>(facts.st_size), path);
  }
  ::close(fd);
  return mapping;
}

// -------------------------------------------------------------------------- locks

inline bool try_lock(int fd, int kind) {
  int result;
  do {
    result = ::flock(fd, kind | LOCK_NB);
  } while (result != 0 && errno == EINTR);
  return result == 0;
}

/// Tries for as long as looks may be in the way: they hold a lock for a moment.
inline bool outlast_looks(int fd) {
  for (int i = 0; i < 20; ++i) {
    if (try_lock(fd, LOCK_EX)) return true;
    if (!try_lock(fd, LOCK_SH)) return false;  // looks share it: this is a holder
    ::flock(fd, LOCK_UN);
    sleep_ns(2500000);
  }
  return false;
}

/// Whether somebody holds the lock of a file, through a descriptor of our own of it.
inline bool is_held(int fd) {
  if (!try_lock(fd, LOCK_SH)) return true;
  ::flock(fd, LOCK_UN);
  return false;
}

// ---------------------------------------------------------------------- directory

/// An open directory of channels: this user's, and nobody else may look into it.
struct ChannelDirectory {
  std::string path;
  Descriptor fd;
};

inline std::string private_name() { return "rlay-" + std::to_string(::geteuid()); }

inline std::string default_directory() {
  if (const char* named = std::getenv("RLAY_DIR"); named && *named) return named;
  struct stat facts;
  if (::stat("/dev/shm", &facts) == 0 && S_ISDIR(facts.st_mode)) return "/dev/shm/" + private_name();
  const char* temporary = std::getenv("TMPDIR");
  return std::string(temporary && *temporary ? temporary : "/tmp") + "/" + private_name();
}

inline void make_directories(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    ::mkdir(path.substr(0, at).c_str(), 0777);
  }
  ::mkdir(path.c_str(), 0700);
}

/// Opens the directory of channels. One that is not ours alone is not used itself: a
/// sub-directory of it is.
inline Result<ChannelDirectory> open_directory(const std::string& wanted, bool create) {
  const char* variable = std::getenv("RLAY_DIR");
  const bool named = !wanted.empty() || (variable && *variable);
  ChannelDirectory directory;
  directory.path = wanted.empty() ? default_directory() : wanted;
  if (create) make_directories(directory.path);
  // Who names a directory may name a link to it. Nobody names the default one, and a link
  // in its place was put there by somebody else.
  directory.fd = Descriptor(::open(directory.path.c_str(), directory_flags | (named ? 0 : O_NOFOLLOW)));
  if (!directory.fd.is_open()) return file_error(errno, directory.path);
  if (is_private_directory(directory.fd.fd())) return directory;
  const std::string inner = private_name();
  const std::string outer = directory.path;
  directory.path += "/" + inner;
  if (create) ::mkdirat(directory.fd.fd(), inner.c_str(), 0700);
  directory.fd = Descriptor(::openat(directory.fd.fd(), inner.c_str(), directory_flags | O_NOFOLLOW));
  if (!directory.fd.is_open()) return file_error(errno, directory.path);
  if (is_private_directory(directory.fd.fd())) return directory;
  return Status(Code::permission, directory.path + " (in " + outer +
                                      ") is not this user's alone: it must have mode 0700; remove it, "
                                      "or name another directory with RLAY_DIR");
}

/// Names of the channels of a group, `NAME.<digits>`, in numeric order.
inline std::vector<std::string> group_members(const ChannelDirectory& directory, const std::string& name) {
  std::vector<std::pair<uint64_t, std::string>> found;
  const int copy = ::openat(directory.fd.fd(), ".", directory_flags);
  DIR* listing = copy < 0 ? nullptr : ::fdopendir(copy);
  if (!listing) {
    if (copy >= 0) ::close(copy);
    return {};
  }
  while (const dirent* entry = ::readdir(listing)) {
    const std::string_view one = entry->d_name;
    if (one.size() <= name.size() + 1 || one.size() > name.size() + 10) continue;
    if (one.substr(0, name.size()) != name || one[name.size()] != '.') continue;
    const std::string_view digits = one.substr(name.size() + 1);
    if (digits.find_first_not_of("0123456789") != std::string_view::npos) continue;
    found.emplace_back(std::strtoull(std::string(digits).c_str(), nullptr, 10), one);
  }
  ::closedir(listing);
  std::sort(found.begin(), found.end());
  std::vector<std::string> names;
  for (auto& item : found) names.push_back(std::move(item.second));
  return names;
}

// -------------------------------------------------------------------- one channel

enum class End : uint8_t { server, client };

inline const char* name_of(End end) { return end == End::server ? "server" : "client"; }

/// The files of one channel.
class ChannelFiles {
 public:
  std::string name;
  std::string path;
  Mapping header;

  ChannelFiles() = default;
  ChannelFiles(ChannelFiles&&) = default;
  ChannelFiles& operator=(ChannelFiles&&) = default;
  ~ChannelFiles() = default;

  /// Makes the files of a channel under a hidden name, its server end held.
  static Result<ChannelFiles> create(ChannelDirectory directory, const std::string& name) {
    ChannelFiles files;
    files.directory_ = std::move(directory);
    files.name = name;
    files.path = files.directory_.path + "/" + name;
    for (int i = 0; i < 100; ++i) {
      files.hidden_ = ".new-" + hex(draw_id());
      if (::mkdirat(files.directory_.fd.fd(), files.hidden_.c_str(), 0700) != 0) {
        return file_error(errno, files.path);
      }
      files.fd_ = Descriptor(::openat(files.directory_.fd.fd(), files.hidden_.c_str(),
                                      directory_flags | O_NOFOLLOW));
      if (!files.fd_.is_open()) continue;  // somebody swept it
      Status status = files.hold(End::server);
      if (status && !files.leads_here(files.hidden_)) continue;
      if (status) status = files.make_lock(End::client);
      if (status) {
        auto mapping = create_mapped(files.fd_.fd(), "header", files.path + "/header", header_file_bytes);
        if (mapping) {
          files.header = std::move(mapping.value());
        } else {
          status = mapping.status();
        }
      }
      if (status) return files;
      files.remove();
      return status;
    }
    return Status(Code::system, files.directory_.path + " is swept all the time: nothing stays");
  }

  /// Gives the channel its name; a stale channel of that name is replaced.
  Status publish() {
    for (int i = 0; i < 100; ++i) {
      if (::renameat(directory_.fd.fd(), hidden_.c_str(), directory_.fd.fd(), name.c_str()) == 0) {
        hidden_.clear();
        return Status();
      }
      if (errno != EEXIST && errno != ENOTEMPTY && errno != ENOTDIR) return file_error(errno, path);
      if (Status status = displace_stale(); !status) return status;
    }
    return Status(Code::busy, "channel " + quoted(name) + " is fought over: too many servers");
  }

  /// Opens the files of an existing channel and maps its header.
  static Result<ChannelFiles> open(ChannelDirectory directory, const std::string& name) {
    ChannelFiles files;
    files.directory_ = std::move(directory);
    files.name = name;
    files.path = files.directory_.path + "/" + name;
    if (Status status = files.open_directory_of_channel(); !status) return status;
    auto mapping = open_mapped(files.fd_.fd(), "header", files.path + "/header", header_file_bytes);
    if (!mapping) return mapping.status();
    files.header = std::move(mapping.value());
    return files;
  }

  /// Takes an end's lock; Code::busy where somebody else holds it.
  Status hold(End end) {
    const std::string file = lock_name(end);
    int fd = ::openat(fd_.fd(), file.c_str(), O_RDWR | O_CREAT | O_EXCL | file_flags, 0600);
    if (fd < 0 && errno == EEXIST) {
      auto opened = open_plain(fd_.fd(), file, path + "/" + file);
      if (!opened) return opened.status();
      fd = opened.value();
    }
    if (fd < 0) return file_error(errno, path + "/" + file);
    Descriptor lock(fd);
    if (!outlast_looks(fd)) {
      return Status(Code::busy, "channel " + quoted(name) + " has a " + name_of(end) +
                                    " already: use another name, or end that one first");
    }
    lock_ = std::move(lock);
    return Status();
  }
  void release() { lock_.close(); }
  bool holds() const { return lock_.is_open(); }

  /// A descriptor through which an end's lock is looked at.
  Result<Descriptor> probe(End end) const {
    const std::string file = lock_name(end);
    auto opened = open_plain(fd_.fd(), file, path + "/" + file);
    if (!opened) return opened.status();
    return Descriptor(opened.value());
  }

  /// Whether the channel's name still leads to these files.
  bool is_current() const { return leads_here(name); }

  Result<Mapping> create_slots(uint32_t generation, size_t size) {
    if (generation_) ::unlinkat(fd_.fd(), slots_name(generation_).c_str(), 0);
    generation_ = 0;
    const std::string hidden = ".slots-" + hex(draw_id()).substr(0, 8);
    const std::string file = slots_name(generation);
    auto mapping = create_mapped(fd_.fd(), hidden, path + "/" + file, size);
    if (!mapping) return mapping;
    if (::renameat(fd_.fd(), hidden.c_str(), fd_.fd(), file.c_str()) != 0) {
      const int error = errno;
      ::unlinkat(fd_.fd(), hidden.c_str(), 0);
      return file_error(error, path + "/" + file);
    }
    generation_ = generation;
    return mapping;
  }
  Result<Mapping> open_slots(uint32_t generation) const {
    const std::string file = slots_name(generation);
    return open_mapped(fd_.fd(), file, path + "/" + file, slots_header_bytes);
  }

  /// Writes one byte into the FIFO of an end, if somebody reads it.
  void ring_fifo(End end) {
    if (!fifo_.is_open()) {
      const std::string file = std::string("bell.") + name_of(end);
      Descriptor opened(::openat(fd_.fd(), file.c_str(), O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC));
      struct stat facts;
      if (!opened.is_open() || ::fstat(opened.fd(), &facts) != 0 || !S_ISFIFO(facts.st_mode)) return;
      fifo_ = std::move(opened);
    }
    const uint8_t byte = 0;
    const auto written = write_quietly(fifo_.fd(), &byte, 1);
    if (written < 0 && errno != EAGAIN && errno != EWOULDBLOCK) fifo_.close();  // its reader is gone
  }

  /// Takes away the channel's name and files. Twice is harmless.
  void remove() {
    if (!fd_.is_open() || removed_) return;
    removed_ = true;
    std::string gone = hidden_;
    if (gone.empty() && is_current()) {
      gone = ".gone-" + hex(draw_id());
      if (::renameat(directory_.fd.fd(), name.c_str(), directory_.fd.fd(), gone.c_str()) != 0) return;
    }
    if (!gone.empty()) remove_hidden(gone);
  }

  static Status check_contents(int fd, const std::string& path);

 private:
  static std::string hex(uint64_t number) {
    char text[17];
    std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
    return text;
  }
  static std::string lock_name(End end) { return std::string(name_of(end)) + ".lock"; }
  static std::string slots_name(uint32_t generation) { return "slots." + std::to_string(generation); }

  /// Writes into a FIFO whose reader may be gone, without the signal that this would raise.
  static ssize_t write_quietly(int fd, const void* data, size_t size) {
    sigset_t pipe_signal, before;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    const ssize_t written = ::write(fd, data, size);
    const int error = errno;
    if (written < 0 && error == EPIPE && !sigismember(&before, SIGPIPE)) {
      sigset_t pending;
      sigpending(&pending);
      int number;
      if (sigismember(&pending, SIGPIPE)) sigwait(&pipe_signal, &number);
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    errno = error;
    return written;
  }

  Status open_directory_of_channel() {
    fd_ = Descriptor(::openat(directory_.fd.fd(), name.c_str(), directory_flags | O_NOFOLLOW));
    if (!fd_.is_open()) {
      if (errno == ENOENT) {
        return Status(Code::not_found, "there is no channel " + quoted(name) + " in " + directory_.path);
      }
      return file_error(errno, path);
    }
    if (is_private_directory(fd_.fd())) return Status();
    return Status(Code::permission, path + " is not this user's alone: it must have mode 0700");
  }

  Status make_lock(End end) {
    const std::string file = lock_name(end);
    const int fd = ::openat(fd_.fd(), file.c_str(), O_RDWR | O_CREAT | O_EXCL | file_flags, 0600);
    if (fd < 0 && errno != EEXIST) return file_error(errno, path + "/" + file);
    if (fd >= 0) ::close(fd);
    return Status();
  }

  bool leads_here(const std::string& wanted) const {
    struct stat ours, theirs;
    return ::fstat(fd_.fd(), &ours) == 0 &&
           ::fstatat(directory_.fd.fd(), wanted.c_str(), &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
           ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
  }

  /// Takes the name away from a channel whose server is gone.
  Status displace_stale() {
    Descriptor old(::openat(directory_.fd.fd(), name.c_str(), directory_flags | O_NOFOLLOW));
    if (!old.is_open()) return errno == ENOENT ? Status() : file_error(errno, path);
    if (!is_private_directory(old.fd())) {
      return Status(Code::permission, path + " is not this user's alone: it must have mode 0700");
    }
    if (Status status = check_contents(old.fd(), path); !status) return status;
    const auto living = [&] {
      auto lock = open_plain(old.fd(), "server.lock", path + "/server.lock");
      if (!lock) return false;
      const bool held = is_held(lock.value());
      ::close(lock.value());
      return held;
    };
    struct stat ours, theirs;
    const auto current = [&] {
      return ::fstat(old.fd(), &ours) == 0 &&
             ::fstatat(directory_.fd.fd(), name.c_str(), &theirs, AT_SYMLINK_NOFOLLOW) == 0 &&
             ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino;
    };
    if (living()) {
      if (!current()) return Status();
      return Status(Code::busy, "channel " + quoted(name) +
                                    " has a server already: use another name, or end that one first");
    }
    // Who takes a dead channel's name away holds its directory's lock, so that nobody
    // does it twice.
    if (!outlast_looks(old.fd())) return Status();
    if (living() || !current()) return Status();
    const std::string gone = ".gone-" + hex(draw_id());
    if (::renameat(directory_.fd.fd(), name.c_str(), directory_.fd.fd(), gone.c_str()) != 0) {
      return errno == ENOENT ? Status() : file_error(errno, path);
    }
    remove_hidden(gone);
    return Status();
  }

  void remove_hidden(const std::string& hidden) {
    const Descriptor inner(::openat(directory_.fd.fd(), hidden.c_str(), directory_flags | O_NOFOLLOW));
    if (!inner.is_open()) return;
    const int copy = ::openat(inner.fd(), ".", directory_flags);
    DIR* listing = copy < 0 ? nullptr : ::fdopendir(copy);
    std::vector<std::string> entries;
    while (const dirent* entry = listing ? ::readdir(listing) : nullptr) entries.emplace_back(entry->d_name);
    if (listing) {
      ::closedir(listing);
    } else if (copy >= 0) {
      ::close(copy);
    }
    for (const std::string& entry : entries) {
      if (entry != "." && entry != "..") ::unlinkat(inner.fd(), entry.c_str(), 0);
    }
    ::unlinkat(directory_.fd.fd(), hidden.c_str(), AT_REMOVEDIR);
  }

  ChannelDirectory directory_;
  Descriptor fd_;
  Descriptor lock_;
  Descriptor fifo_;
  std::string hidden_;
  uint32_t generation_ = 0;
  bool removed_ = false;
};

/// Makes sure that a directory is a channel's, of this major version, before anything in
/// it is removed.
inline Status ChannelFiles::check_contents(int fd, const std::string& path) {
  const int copy = ::openat(fd, ".", directory_flags);
  DIR* listing = copy < 0 ? nullptr : ::fdopendir(copy);
  if (!listing) {
    const int error = errno;
    if (copy >= 0) ::close(copy);
    return file_error(error, path);
  }
  std::string stranger;
  bool has_header = false;
  while (const dirent* entry = ::readdir(listing)) {
    const std::string_view one = entry->d_name;
    if (one == "." || one == "..") continue;
    has_header = has_header || one == "header";
    const bool known = one == "header" || one == "server.lock" || one == "client.lock" ||
                       one == "bell.server" || one == "bell.client" || one.substr(0, 6) == "slots." ||
                       one.substr(0, 7) == ".slots-";
    if (!known) stranger = one;
  }
  ::closedir(listing);
  if (!stranger.empty()) {
    return Status(Code::corrupt, path + " holds " + quoted(stranger) +
                                     ", which no channel has, so it is left as it is: use another name, "
                                     "or remove it by hand");
  }
  if (!has_header) return Status();
  auto header = open_plain(fd, "header", path + "/header");
  if (!header) return header.status();
  uint8_t head[12] = {};
  const ssize_t got = ::pread(header.value(), head, sizeof head, 0);
  ::close(header.value());
  uint32_t version;
  std::memcpy(&version, head + 8, 4);
  if (got == 12 && std::memcmp(head, "RLAYCHAN", 8) == 0 && version == protocol_version) return Status();
  return Status(got == 12 && version != protocol_version ? Code::version : Code::corrupt,
                path + " is no channel of version " + std::to_string(protocol_version) +
                    ", so it is left as it is: use another name, or remove it by hand");
}

}  // namespace rlay::detail

#endif  // RLAY_MAPPED_FILES
