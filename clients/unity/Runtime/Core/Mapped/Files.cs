using System;

namespace RLay
{
    /// <summary>An open file descriptor, closed at the end.</summary>
    internal sealed class Descriptor : IDisposable
    {
        public Descriptor(int fd)
        {
            Fd = fd;
        }

        ~Descriptor()
        {
            Dispose();
        }

        public int Fd { get; private set; }

        public bool IsOpen
        {
            get { return Fd >= 0; }
        }

        public void Dispose()
        {
            if (Fd >= 0) Libc.Close(Fd);
            Fd = -1;
            GC.SuppressFinalize(this);
        }
    }

    /// <summary>A mapped file.</summary>
    internal sealed unsafe class Mapping : IDisposable
    {
        private Mapping(byte* data, long size)
        {
            Data = data;
            Size = size;
        }

        ~Mapping()
        {
            Dispose();
        }

        public byte* Data { get; private set; }

        public long Size { get; private set; }

        /// <summary>Makes a file of zeros with all its room taken.</summary>
        public static Mapping Create(int directory, string name, string path, long size)
        {
            using (var file = new Descriptor(Libc.OpenAt(directory, name, Libc.ReadWrite | Libc.Create | Libc.Exclusive | Files.Flags)))
            {
                if (!file.IsOpen) throw Files.Error(Libc.LastError, path);
                int error = Libc.Allocate(file.Fd, size);
                byte* data = error == 0 ? Libc.Map(file.Fd, size) : null;
                if (data != null) return new Mapping(data, size);
                if (error == 0) error = Libc.LastError;
                Libc.UnlinkAt(directory, name);
                throw Files.Error(error, path);
            }
        }

        /// <summary>Maps a file that must have at least so many bytes.</summary>
        public static Mapping Open(int directory, string name, string path, long least)
        {
            Libc.Facts facts;
            using (Descriptor file = Files.OpenPlain(directory, name, path, out facts))
            {
                if (facts.Size < least) throw new ChannelException(ErrorCode.Corrupt, path + " is shorter than it must be");
                byte* data = Libc.Map(file.Fd, facts.Size);
                if (data == null) throw Files.Error(Libc.LastError, path);
                return new Mapping(data, facts.Size);
            }
        }

        public void Dispose()
        {
            if (Data != null) Libc.Unmap(Data, Size);
            Data = null;
            GC.SuppressFinalize(this);
        }
    }

    /// <summary>Opening files as slot.md demands, locks, and what errors of the system mean.</summary>
    internal static class Files
    {
        public static readonly int Flags = Libc.NoFollow | Libc.NoBlock;
        public static readonly int DirectoryFlags = Libc.ReadOnly | Libc.Directory;

        private const uint RightsOfOthers = 0x3F; // 0077

        public static RLayException Error(int error, string path)
        {
            string text = path + ": " + Libc.Text(error);
            if (error == Libc.ErrorNotFound) return new ChannelException(ErrorCode.NotFound, text);
            if (error == Libc.ErrorNoSpace || error == Libc.ErrorQuota || error == Libc.ErrorNoMemory || error == Libc.ErrorTooManyFiles)
            {
                return new ChannelException(ErrorCode.NoSpace, text + ": make room, or choose another RLAY_DIR");
            }
            return new ChannelException(ErrorCode.Corrupt, text);
        }

        /// <summary>Opens a file that must be a plain file of this user alone.</summary>
        public static Descriptor OpenPlain(int directory, string name, string path, out Libc.Facts facts)
        {
            facts = default(Libc.Facts);
            var file = new Descriptor(Libc.OpenAt(directory, name, Libc.ReadWrite | Flags));
            if (!file.IsOpen) throw Error(Libc.LastError, path);
            string odd = null;
            if (!Libc.Stat(file.Fd, out facts) || !facts.IsType(Libc.Facts.TypePlain) || facts.Links > 1)
            {
                odd = " is not a plain file with one name: remove it by hand if it is not needed";
            }
            else if (facts.User != Libc.EffectiveUser() || (facts.Mode & RightsOfOthers) != 0)
            {
                odd = " is not this user's alone: it must have mode 0600";
            }
            if (odd == null) return file;
            file.Dispose();
            throw new ChannelException(ErrorCode.Corrupt, path + odd);
        }

        public static bool IsPrivateDirectory(int fd)
        {
            Libc.Facts facts;
            return Libc.Stat(fd, out facts) && facts.IsType(Libc.Facts.TypeDirectory)
                   && facts.User == Libc.EffectiveUser() && (facts.Mode & RightsOfOthers) == 0;
        }

        /// <summary>Whether a name in a directory leads to an open file.</summary>
        public static bool LeadsTo(int directory, string name, int fd)
        {
            Libc.Facts ours, theirs;
            return Libc.Stat(fd, out ours) && Libc.Stat(directory, name, out theirs)
                   && ours.Device == theirs.Device && ours.Inode == theirs.Inode;
        }

        /// <summary>Whether somebody holds a lock, through a descriptor of our own.</summary>
        public static bool IsHeld(int fd)
        {
            if (!Libc.Flock(fd, Libc.LockShared | Libc.LockNoWait)) return true;
            Libc.Flock(fd, Libc.LockRelease);
            return false;
        }

        /// <summary>Takes a lock; tries for as long as looks may be in the way, which hold it for a moment.</summary>
        public static bool Hold(int fd)
        {
            for (int i = 0; i < 20; i++)
            {
                if (Libc.Flock(fd, Libc.LockExclusive | Libc.LockNoWait)) return true;
                // Looks share the lock: who does not is a holder.
                if (!Libc.Flock(fd, Libc.LockShared | Libc.LockNoWait)) return false;
                Libc.Flock(fd, Libc.LockRelease);
                System.Threading.Thread.Sleep(3);
            }
            return false;
        }
    }
}
