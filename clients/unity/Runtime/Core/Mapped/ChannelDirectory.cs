using System;
using System.Collections.Generic;
using System.IO;

namespace RLay
{
    /// <summary>An open directory of channels: this user's, and nobody else may look into it.</summary>
    internal sealed class ChannelDirectory : IDisposable
    {
        private readonly Descriptor descriptor;

        private ChannelDirectory(string path, Descriptor descriptor)
        {
            Path = path;
            this.descriptor = descriptor;
        }

        public string Path { get; private set; }

        public int Fd
        {
            get { return descriptor.Fd; }
        }

        /// <summary>One that is not ours alone is not used itself: a sub-directory of it is.</summary>
        public static ChannelDirectory Open(string wanted, bool create)
        {
            string variable = Environment.GetEnvironmentVariable("RLAY_DIR");
            bool named = !string.IsNullOrEmpty(wanted) || !string.IsNullOrEmpty(variable);
            string path = !string.IsNullOrEmpty(wanted) ? wanted : !string.IsNullOrEmpty(variable) ? variable : Default();
            if (create) Make(path);
            // Who names a directory may name a link to it. Nobody names the default one, and a
            // link in its place was put there by somebody else.
            var outer = new Descriptor(Libc.OpenAt(Libc.WorkingDirectory, path, Files.DirectoryFlags | (named ? 0 : Libc.NoFollow)));
            if (!outer.IsOpen) throw Files.Error(Libc.LastError, path);
            if (Files.IsPrivateDirectory(outer.Fd)) return new ChannelDirectory(path, outer);
            using (outer)
            {
                string name = PrivateName();
                if (create) Libc.MakeDirectoryAt(outer.Fd, name, 0x1C0);
                string inside = path + "/" + name;
                var inner = new Descriptor(Libc.OpenAt(outer.Fd, name, Files.DirectoryFlags | Libc.NoFollow));
                if (!inner.IsOpen) throw Files.Error(Libc.LastError, inside);
                if (Files.IsPrivateDirectory(inner.Fd)) return new ChannelDirectory(inside, inner);
                inner.Dispose();
                throw new ChannelException(ErrorCode.Corrupt, inside + " is not this user's alone: it must have mode 0700; "
                                           + "remove it, or name another directory with RLAY_DIR");
            }
        }

        /// <summary>Channels of a group, name.0, name.1 ..., in numeric order.</summary>
        public List<string> GroupMembers(string name)
        {
            var found = new SortedDictionary<long, string>();
            foreach (string path in Directory.GetDirectories(Path))
            {
                string one = System.IO.Path.GetFileName(path);
                if (!one.StartsWith(name + ".", StringComparison.Ordinal)) continue;
                string digits = one.Substring(name.Length + 1);
                long number;
                if (digits.Length > 9 || !long.TryParse(digits, System.Globalization.NumberStyles.None,
                        System.Globalization.CultureInfo.InvariantCulture, out number)) continue;
                found[number] = one;
            }
            return new List<string>(found.Values);
        }

        public void Dispose()
        {
            descriptor.Dispose();
        }

        private static string PrivateName()
        {
            return "rlay-" + Libc.EffectiveUser();
        }

        private static string Default()
        {
            return (Directory.Exists("/dev/shm") ? "/dev/shm" : System.IO.Path.GetTempPath().TrimEnd('/')) + "/" + PrivateName();
        }

        private static void Make(string path)
        {
            for (int at = path.IndexOf('/', 1); at > 0; at = path.IndexOf('/', at + 1))
            {
                Libc.MakeDirectoryAt(Libc.WorkingDirectory, path.Substring(0, at), 0x1FF);
            }
            Libc.MakeDirectoryAt(Libc.WorkingDirectory, path, 0x1C0);
        }
    }
}
