using System;
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace RLay
{
    /// <summary>What a system must offer for channels in mapped memory, and its numbers.</summary>
    internal static unsafe class Libc
    {
        public const int ErrorAgain = 11;
        public const int ErrorNotFound = 2;
        public const int ErrorInterrupted = 4;
        public const int ErrorAccess = 13;
        public const int ErrorNotPermitted = 1;
        public const int ErrorExists = 17;
        public const int ErrorNotADirectory = 20;
        public const int ErrorNoMemory = 12;
        public const int ErrorNoSpace = 28;
        public const int ErrorTooManyFiles = 24;

        public const int LockShared = 1;
        public const int LockExclusive = 2;
        public const int LockNoWait = 4;
        public const int LockRelease = 8;

        public static readonly bool IsMac = IsUnix() && System.IO.File.Exists("/System/Library/CoreServices/SystemVersion.plist");

        /// <summary>Whether this system has mapped channels: Linux and macOS, in 64 bits.</summary>
        public static readonly bool IsAvailable = IsUnix() && IntPtr.Size == 8 && BitConverter.IsLittleEndian;

        public static readonly int ErrorLoop = IsMac ? 62 : 40;
        public static readonly int ErrorNotEmpty = IsMac ? 66 : 39;
        public static readonly int ErrorQuota = IsMac ? 69 : 122;

        private static readonly bool isArm = RuntimeInformation.ProcessArchitecture == Architecture.Arm64;

        public static readonly int ReadOnly = 0;
        public static readonly int WriteOnly = 1;
        public static readonly int ReadWrite = 2;
        public static readonly int Create = IsMac ? 0x200 : 0x40;
        public static readonly int Exclusive = IsMac ? 0x800 : 0x80;
        public static readonly int NoBlock = IsMac ? 4 : 0x800;
        public static readonly int CloseOnExec = IsMac ? 0x1000000 : 0x80000;
        // These two differ between Linux on x86 and on ARM.
        public static readonly int NoFollow = IsMac ? 0x100 : isArm ? 0x8000 : 0x20000;
        public static readonly int Directory = IsMac ? 0x100000 : isArm ? 0x4000 : 0x10000;

        private static readonly int atNoFollow = IsMac ? 0x20 : 0x100;
        private static readonly int atRemoveDirectory = IsMac ? 0x80 : 0x200;

        private static readonly long futexNumber = isArm ? 98 : 202;
        private static readonly long statxNumber = isArm ? 291 : 332;

        /// <summary>Whether this end can sleep on a word of shared memory and wake another.</summary>
        public static readonly bool HasFutex = IsAvailable && !IsMac
            && (isArm || RuntimeInformation.ProcessArchitecture == Architecture.X64);

        /// <summary>Facts about a file.</summary>
        public struct Facts
        {
            public const uint TypeMask = 0xF000;
            public const uint TypeDirectory = 0x4000;
            public const uint TypePlain = 0x8000;
            public const uint TypeFifo = 0x1000;

            public uint Mode;
            public uint User;
            public uint Links;
            public ulong Device;
            public ulong Inode;
            public long Size;

            public bool IsType(uint type)
            {
                return (Mode & TypeMask) == type;
            }
        }

        [StructLayout(LayoutKind.Sequential)]
        private struct TimeSpec
        {
            public long Seconds;
            public long Nanoseconds;
        }

        [DllImport("libc", EntryPoint = "openat", SetLastError = true)]
        private static extern int OpenAtRaw(int directory, byte[] path, int flags, int mode);

        [DllImport("libc", EntryPoint = "close", SetLastError = true)]
        public static extern int Close(int fd);

        [DllImport("libc", EntryPoint = "flock", SetLastError = true)]
        private static extern int FlockRaw(int fd, int operation);

        [DllImport("libc", EntryPoint = "fchmod", SetLastError = true)]
        private static extern int ChangeMode(int fd, uint mode);

        [DllImport("libc", EntryPoint = "mkdirat", SetLastError = true)]
        private static extern int MakeDirectoryAtRaw(int directory, byte[] path, uint mode);

        [DllImport("libc", EntryPoint = "renameat", SetLastError = true)]
        private static extern int RenameAtRaw(int from, byte[] old, int to, byte[] target);

        [DllImport("libc", EntryPoint = "unlinkat", SetLastError = true)]
        private static extern int UnlinkAtRaw(int directory, byte[] path, int flags);

        [DllImport("libc", EntryPoint = "posix_fallocate", SetLastError = true)]
        private static extern int AllocateRaw(int fd, long offset, long length);

        [DllImport("libc", EntryPoint = "ftruncate", SetLastError = true)]
        private static extern int TruncateRaw(int fd, long length);

        [DllImport("libc", EntryPoint = "mmap", SetLastError = true)]
        private static extern IntPtr MapRaw(IntPtr address, UIntPtr length, int protection, int flags, int fd, long offset);

        [DllImport("libc", EntryPoint = "munmap", SetLastError = true)]
        private static extern int UnmapRaw(IntPtr address, UIntPtr length);

        [DllImport("libc", EntryPoint = "geteuid")]
        public static extern uint EffectiveUser();

        [DllImport("libc", EntryPoint = "write", SetLastError = true)]
        public static extern IntPtr Write(int fd, byte[] data, UIntPtr length);

        [DllImport("libc", EntryPoint = "pread", SetLastError = true)]
        public static extern IntPtr ReadAt(int fd, byte[] data, UIntPtr length, long offset);

        [DllImport("libc", EntryPoint = "syscall", SetLastError = true)]
        private static extern long FutexRaw(long number, int* word, int operation, int value, TimeSpec* limit, IntPtr word2, int value3);

        [DllImport("libc", EntryPoint = "syscall", SetLastError = true)]
        private static extern long StatxRaw(long number, long directory, byte[] path, long flags, long mask, byte* result);

        [DllImport("libc", EntryPoint = "fstatat$INODE64", SetLastError = true)]
        private static extern int StatMacIntel(int directory, byte[] path, byte* result, int flags);

        [DllImport("libc", EntryPoint = "fstatat", SetLastError = true)]
        private static extern int StatMac(int directory, byte[] path, byte* result, int flags);

        [DllImport("libc", EntryPoint = "fstat$INODE64", SetLastError = true)]
        private static extern int StatOpenMacIntel(int fd, byte* result);

        [DllImport("libc", EntryPoint = "fstat", SetLastError = true)]
        private static extern int StatOpenMac(int fd, byte* result);

        private static bool IsUnix()
        {
            return Environment.OSVersion.Platform == PlatformID.Unix || Environment.OSVersion.Platform == PlatformID.MacOSX;
        }

        public static int LastError
        {
            get { return Marshal.GetLastWin32Error(); }
        }

        private static byte[] Name(string path)
        {
            return ValueEncoder.Utf8.GetBytes(path + "\0");
        }

        public static int OpenAt(int directory, string path, int flags)
        {
            // A mode, where a file is made, is set behind: it is an argument of a variable
            // list, which Apple's ARM passes elsewhere.
            int fd = OpenAtRaw(directory, Name(path), flags | CloseOnExec, 0x180);
            if (fd >= 0 && (flags & Create) != 0 && ChangeMode(fd, 0x180) != 0)
            {
                Close(fd);
                return -1;
            }
            return fd;
        }

        public static bool Flock(int fd, int operation)
        {
            int result;
            do
            {
                result = FlockRaw(fd, operation);
            } while (result != 0 && LastError == ErrorInterrupted);
            return result == 0;
        }

        /// <summary>Takes the working directory for a path that is no name in another one.</summary>
        public static readonly int WorkingDirectory = IsMac ? -2 : -100;

        public static bool MakeDirectoryAt(int directory, string path, uint mode)
        {
            return MakeDirectoryAtRaw(directory, Name(path), mode) == 0;
        }

        public static bool RenameAt(int directory, string old, string target)
        {
            return RenameAtRaw(directory, Name(old), directory, Name(target)) == 0;
        }

        public static bool UnlinkAt(int directory, string path, bool isDirectory = false)
        {
            return UnlinkAtRaw(directory, Name(path), isDirectory ? atRemoveDirectory : 0) == 0;
        }

        /// <summary>Gives a new file its size, with all of its room taken; 0 or an error number.</summary>
        public static int Allocate(int fd, long bytes)
        {
            if (IsMac) return TruncateRaw(fd, bytes) == 0 ? 0 : LastError;
            int error;
            do
            {
                error = AllocateRaw(fd, 0, bytes);
            } while (error == ErrorInterrupted);
            return error;
        }

        /// <summary>Maps a file, shared and writable; null where that fails.</summary>
        public static byte* Map(int fd, long bytes)
        {
            const int readWrite = 3, shared = 1, populate = 0x8000;
            IntPtr address = MapRaw(IntPtr.Zero, (UIntPtr)(ulong)bytes, readWrite, IsMac ? shared : shared | populate, fd, 0);
            return address == new IntPtr(-1) ? null : (byte*)address;
        }

        public static void Unmap(byte* address, long bytes)
        {
            UnmapRaw((IntPtr)address, (UIntPtr)(ulong)bytes);
        }

        /// <summary>Facts of an open file.</summary>
        public static bool Stat(int fd, out Facts facts)
        {
            return Stat(fd, "", out facts);
        }

        /// <summary>Facts of a name in a directory, links not followed; of the directory itself for an empty one.</summary>
        public static bool Stat(int directory, string path, out Facts facts)
        {
            const long emptyPath = 0x1000, basicStats = 0x7FF;
            facts = default(Facts);
            byte* result = stackalloc byte[256];
            if (IsMac)
            {
                int done;
                if (path.Length == 0) done = isArm ? StatOpenMac(directory, result) : StatOpenMacIntel(directory, result);
                else if (isArm) done = StatMac(directory, Name(path), result, atNoFollow);
                else done = StatMacIntel(directory, Name(path), result, atNoFollow);
                if (done != 0) return false;
                facts.Device = *(uint*)result;
                facts.Mode = *(ushort*)(result + 4);
                facts.Links = *(ushort*)(result + 6);
                facts.Inode = *(ulong*)(result + 8);
                facts.User = *(uint*)(result + 16);
                facts.Size = *(long*)(result + 96);
                return true;
            }
            // statx has one layout on all processors; stat has not, and its symbol varies.
            if (StatxRaw(statxNumber, directory, Name(path), path.Length == 0 ? emptyPath : atNoFollow, basicStats, result) != 0) return false;
            facts.Links = *(uint*)(result + 16);
            facts.User = *(uint*)(result + 20);
            facts.Mode = *(ushort*)(result + 28);
            facts.Inode = *(ulong*)(result + 32);
            facts.Size = *(long*)(result + 40);
            facts.Device = ((ulong)*(uint*)(result + 136) << 32) | *(uint*)(result + 140);
            return true;
        }

        /// <summary>Sleeps while a word is as seen, shared between processes, for at most so long.</summary>
        public static void FutexWait(int* word, int seen, double seconds)
        {
            var limit = new TimeSpec { Seconds = (long)seconds, Nanoseconds = (long)((seconds - Math.Floor(seconds)) * 1e9) };
            FutexRaw(futexNumber, word, 0, seen, &limit, IntPtr.Zero, 0);
        }

        public static void FutexWake(int* word)
        {
            FutexRaw(futexNumber, word, 1, int.MaxValue, null, IntPtr.Zero, 0);
        }

        public static string Text(int error)
        {
            if (error == ErrorNotFound) return "no such file or directory";
            if (error == ErrorAccess || error == ErrorNotPermitted) return "permission denied";
            if (error == ErrorNoSpace || error == ErrorQuota) return "no space left";
            if (error == ErrorNoMemory) return "out of memory";
            if (error == ErrorTooManyFiles) return "too many open files";
            if (error == ErrorNotADirectory) return "not a directory";
            if (error == ErrorLoop) return "a symbolic link is in the way";
            return "error " + error + " of the system";
        }

        public static uint ProcessId()
        {
            using (Process self = Process.GetCurrentProcess()) return (uint)self.Id;
        }
    }
}
