using System;
using System.Collections.Generic;
using System.IO;

namespace RLay
{
    internal enum End
    {
        Server,
        Client
    }

    internal static class Names
    {
        /// <summary>Throws where a channel cannot have this name.</summary>
        public static void Check(string name)
        {
            bool sound = name.Length >= 1 && name.Length <= Protocol.MaxNameLength && IsPlain(name[0]);
            foreach (char one in name) sound &= IsPlain(one) || one == '.' || one == '_' || one == '-';
            if (sound) return;
            throw new ChannelException(ErrorCode.NotFound, "'" + name + "' is no name of a channel: letters, digits, dots, dashes "
                                       + "and underscores, at most 64, the first a letter or digit");
        }

        private static bool IsPlain(char one)
        {
            return (one >= 'a' && one <= 'z') || (one >= 'A' && one <= 'Z') || (one >= '0' && one <= '9');
        }

        public static string Of(End end)
        {
            return end == End.Server ? "server" : "client";
        }
    }

    /// <summary>Random 64-bit numbers that are not 0.</summary>
    internal static class Ids
    {
        public static ulong Draw()
        {
            using (var source = System.Security.Cryptography.RandomNumberGenerator.Create())
            {
                var bytes = new byte[8];
                ulong id;
                do
                {
                    source.GetBytes(bytes);
                    id = BitConverter.ToUInt64(bytes, 0);
                } while (id == 0);
                return id;
            }
        }
    }

    /// <summary>The files of one channel: docs/spec/slot.md.</summary>
    internal sealed class ChannelFiles : IDisposable
    {
        private const int Attempts = 100;

        private readonly ChannelDirectory directory;
        private Descriptor inside;
        private Descriptor heldLock;
        private Descriptor fifo;
        private string hidden;
        private uint generation;
        private bool removed;

        private ChannelFiles(ChannelDirectory directory, string name)
        {
            this.directory = directory;
            Name = name;
            Path = directory.Path + "/" + name;
        }

        public string Name { get; private set; }

        public string Path { get; private set; }

        public Mapping Header { get; private set; }

        /// <summary>Makes a channel under a hidden name, its server end held.</summary>
        public static ChannelFiles Create(ChannelDirectory directory, string name)
        {
            var files = new ChannelFiles(directory, name);
            try
            {
                for (int i = 0; i < Attempts; i++)
                {
                    if (files.TryCreate()) return files;
                }
                throw new ChannelException(ErrorCode.Corrupt, directory.Path + " is swept all the time: nothing stays");
            }
            catch
            {
                files.Remove();
                files.Dispose();
                throw;
            }
        }

        /// <summary>Opens an existing channel and maps its header.</summary>
        public static ChannelFiles Open(ChannelDirectory directory, string name)
        {
            var files = new ChannelFiles(directory, name);
            try
            {
                files.inside = new Descriptor(Libc.OpenAt(directory.Fd, name, Files.DirectoryFlags | Libc.NoFollow));
                if (!files.inside.IsOpen)
                {
                    int error = Libc.LastError;
                    if (error != Libc.ErrorNotFound) throw Files.Error(error, files.Path);
                    throw new ChannelException(ErrorCode.NotFound, "there is no channel '" + name + "' in " + directory.Path);
                }
                if (!Files.IsPrivateDirectory(files.inside.Fd)) throw NotOurs(files.Path);
                files.Header = Mapping.Open(files.inside.Fd, "header", files.Path + "/header", Protocol.HeaderFileBytes);
                return files;
            }
            catch
            {
                files.Dispose();
                throw;
            }
        }

        /// <summary>Gives the channel its name; a stale channel of that name is replaced.</summary>
        public void Publish()
        {
            for (int i = 0; i < Attempts; i++)
            {
                if (Libc.RenameAt(directory.Fd, hidden, Name))
                {
                    hidden = null;
                    return;
                }
                int error = Libc.LastError;
                if (error != Libc.ErrorExists && error != Libc.ErrorNotEmpty && error != Libc.ErrorNotADirectory) throw Files.Error(error, Path);
                DisplaceStale();
            }
            throw new ChannelException(ErrorCode.Busy, "channel '" + Name + "' is fought over: too many servers");
        }

        /// <summary>Takes an end's lock.</summary>
        public void Hold(End end)
        {
            string file = LockName(end);
            var made = new Descriptor(Libc.OpenAt(inside.Fd, file, Libc.ReadWrite | Libc.Create | Libc.Exclusive | Files.Flags));
            if (!made.IsOpen)
            {
                int error = Libc.LastError;
                if (error != Libc.ErrorExists) throw Files.Error(error, Path + "/" + file);
                Libc.Facts facts;
                made = Files.OpenPlain(inside.Fd, file, Path + "/" + file, out facts);
            }
            if (!Files.Hold(made.Fd))
            {
                made.Dispose();
                throw new ChannelException(ErrorCode.Busy, "channel '" + Name + "' has a " + Names.Of(end)
                                           + " already: use another name, or end that one first");
            }
            heldLock = made;
        }

        public bool Holds
        {
            get { return heldLock != null && heldLock.IsOpen; }
        }

        public void Release()
        {
            if (heldLock != null) heldLock.Dispose();
        }

        /// <summary>A descriptor through which an end's lock is looked at.</summary>
        public Descriptor Probe(End end)
        {
            string file = LockName(end);
            Libc.Facts facts;
            return Files.OpenPlain(inside.Fd, file, Path + "/" + file, out facts);
        }

        /// <summary>Whether the channel's name still leads to these files.</summary>
        public bool IsCurrent
        {
            get { return Files.LeadsTo(directory.Fd, Name, inside.Fd); }
        }

        public Mapping CreateSlots(uint number, long size)
        {
            if (generation != 0) Libc.UnlinkAt(inside.Fd, SlotsName(generation));
            generation = 0;
            string file = SlotsName(number);
            string making = ".slots-" + Ids.Draw().ToString("x16").Substring(0, 8);
            Mapping mapping = Mapping.Create(inside.Fd, making, Path + "/" + file, size);
            if (!Libc.RenameAt(inside.Fd, making, file))
            {
                int error = Libc.LastError;
                mapping.Dispose();
                Libc.UnlinkAt(inside.Fd, making);
                throw Files.Error(error, Path + "/" + file);
            }
            generation = number;
            return mapping;
        }

        public Mapping OpenSlots(uint number)
        {
            string file = SlotsName(number);
            return Mapping.Open(inside.Fd, file, Path + "/" + file, Protocol.SlotsHeaderBytes);
        }

        /// <summary>Writes one byte into the FIFO of an end, if somebody reads it.</summary>
        public void RingFifo(End end)
        {
            if (fifo == null || !fifo.IsOpen)
            {
                var opened = new Descriptor(Libc.OpenAt(inside.Fd, "bell." + Names.Of(end), Libc.WriteOnly | Files.Flags));
                Libc.Facts facts;
                if (!opened.IsOpen || !Libc.Stat(opened.Fd, out facts) || !facts.IsType(Libc.Facts.TypeFifo))
                {
                    opened.Dispose();
                    return;
                }
                fifo = opened;
            }
            // The runtimes ignore SIGPIPE, so a reader that is gone is an error number.
            bool written = Libc.Write(fifo.Fd, new byte[1], (UIntPtr)1UL) == (IntPtr)1;
            if (!written && Libc.LastError != Libc.ErrorAgain) fifo.Dispose();
        }

        /// <summary>Takes away the channel's name and files. Twice is harmless.</summary>
        public void Remove()
        {
            if (inside == null || !inside.IsOpen || removed) return;
            removed = true;
            string gone = hidden;
            if (gone == null && IsCurrent)
            {
                gone = ".gone-" + Ids.Draw().ToString("x16");
                if (!Libc.RenameAt(directory.Fd, Name, gone)) return;
            }
            if (gone != null) RemoveHidden(gone);
        }

        public void Dispose()
        {
            if (Header != null) Header.Dispose();
            Release();
            if (fifo != null) fifo.Dispose();
            if (inside != null) inside.Dispose();
            directory.Dispose();
        }

        private bool TryCreate()
        {
            hidden = ".new-" + Ids.Draw().ToString("x16");
            if (!Libc.MakeDirectoryAt(directory.Fd, hidden, 0x1C0)) throw Files.Error(Libc.LastError, Path);
            inside = new Descriptor(Libc.OpenAt(directory.Fd, hidden, Files.DirectoryFlags | Libc.NoFollow));
            if (!inside.IsOpen) return false; // somebody swept it
            Hold(End.Server);
            if (!Files.LeadsTo(directory.Fd, hidden, inside.Fd)) return false;
            new Descriptor(Libc.OpenAt(inside.Fd, LockName(End.Client), Libc.ReadWrite | Libc.Create | Libc.Exclusive | Files.Flags)).Dispose();
            Header = Mapping.Create(inside.Fd, "header", Path + "/header", Protocol.HeaderFileBytes);
            return true;
        }

        /// <summary>Takes the name away from a channel whose server is gone.</summary>
        private void DisplaceStale()
        {
            using (var old = new Descriptor(Libc.OpenAt(directory.Fd, Name, Files.DirectoryFlags | Libc.NoFollow)))
            {
                if (!old.IsOpen)
                {
                    int error = Libc.LastError;
                    if (error == Libc.ErrorNotFound) return;
                    throw Files.Error(error, Path);
                }
                if (!Files.IsPrivateDirectory(old.Fd)) throw NotOurs(Path);
                CheckContents(old.Fd);
                if (IsLiving(old.Fd))
                {
                    if (!Files.LeadsTo(directory.Fd, Name, old.Fd)) return;
                    throw new ChannelException(ErrorCode.Busy, "channel '" + Name + "' has a server already: use another name, or end that one first");
                }
                // Who takes a dead channel's name away holds its directory's lock, so that
                // nobody does it twice.
                if (!Files.Hold(old.Fd)) return;
                if (IsLiving(old.Fd) || !Files.LeadsTo(directory.Fd, Name, old.Fd)) return;
                string gone = ".gone-" + Ids.Draw().ToString("x16");
                if (Libc.RenameAt(directory.Fd, Name, gone)) RemoveHidden(gone);
            }
        }

        private bool IsLiving(int fd)
        {
            try
            {
                Libc.Facts facts;
                using (Descriptor file = Files.OpenPlain(fd, "server.lock", Path + "/server.lock", out facts)) return Files.IsHeld(file.Fd);
            }
            catch (ChannelException)
            {
                return false;
            }
        }

        /// <summary>Makes sure that a directory is a channel's, of this version, before it is removed.</summary>
        private void CheckContents(int fd)
        {
            foreach (string entry in Directory.GetFileSystemEntries(Path))
            {
                string one = System.IO.Path.GetFileName(entry);
                if (IsChannelFile(one)) continue;
                throw new ChannelException(ErrorCode.Corrupt, Path + " holds '" + one + "', which no channel has, so it is left as it is: "
                                           + "use another name, or remove it by hand");
            }
            var head = new byte[12];
            Libc.Facts facts;
            if (!Libc.Stat(fd, "header", out facts)) return;
            using (Descriptor header = Files.OpenPlain(fd, "header", Path + "/header", out facts))
            {
                bool read = (long)Libc.ReadAt(header.Fd, head, (UIntPtr)12UL, 0) == 12;
                if (read && HeaderPage.HasMagic(head) && BitConverter.ToUInt32(head, 8) == Protocol.Version) return;
            }
            throw new ChannelException(ErrorCode.Version, Path + " is no channel of version " + Protocol.Version
                                       + ", so it is left as it is: use another name, or remove it by hand");
        }

        private static bool IsChannelFile(string name)
        {
            return name == "header" || name == "server.lock" || name == "client.lock" || name == "bell.server" || name == "bell.client"
                   || name.StartsWith("slots.", StringComparison.Ordinal) || name.StartsWith(".slots-", StringComparison.Ordinal);
        }

        private void RemoveHidden(string name)
        {
            using (var gone = new Descriptor(Libc.OpenAt(directory.Fd, name, Files.DirectoryFlags | Libc.NoFollow)))
            {
                if (!gone.IsOpen) return;
                try
                {
                    foreach (string entry in Directory.GetFileSystemEntries(directory.Path + "/" + name))
                    {
                        string one = System.IO.Path.GetFileName(entry);
                        if (IsChannelFile(one)) Libc.UnlinkAt(gone.Fd, one);
                    }
                }
                catch (IOException)
                {
                    // Somebody else removes it too: what is left is theirs.
                }
                Libc.UnlinkAt(directory.Fd, name, true);
            }
        }

        private static ChannelException NotOurs(string path)
        {
            return new ChannelException(ErrorCode.Corrupt, path + " is not this user's alone: it must have mode 0700");
        }

        private static string LockName(End end)
        {
            return Names.Of(end) + ".lock";
        }

        private static string SlotsName(uint number)
        {
            return "slots." + number;
        }
    }
}
