using System;
using System.Threading;

namespace RLay
{
    /// <summary>The first page of a channel's header.</summary>
    internal static unsafe class HeaderPage
    {
        public const int GenerationOffset = 36;
        public const int IncarnationOffset = 40;
        public const int SessionOffset = 48;
        public const int SessionsOffset = 56;

        private static readonly byte[] magic = { (byte)'R', (byte)'L', (byte)'A', (byte)'Y', (byte)'C', (byte)'H', (byte)'A', (byte)'N' };

        public static bool HasMagic(byte[] head)
        {
            for (int i = 0; i < magic.Length; i++)
            {
                if (head[i] != magic[i]) return false;
            }
            return true;
        }

        public static void Write(byte* header, Paradigm paradigm, uint numEnvs)
        {
            var words = (uint*)(header + 8);
            words[0] = Protocol.Version;
            words[1] = Protocol.Minor;
            words[2] = Protocol.HeaderBytes;
            words[3] = Protocol.GreetingSlotBytes;
            words[4] = (uint)paradigm;
            words[6] = numEnvs;
            Thread.MemoryBarrier();
            for (int i = 0; i < magic.Length; i++) header[i] = magic[i];
        }

        /// <summary>What a header says, every number checked.</summary>
        public static Paradigm Read(byte* header, string path)
        {
            for (int i = 0; i < magic.Length; i++)
            {
                if (header[i] != magic[i]) throw new ChannelException(ErrorCode.Corrupt, path + " is not a channel: its header has no magic");
            }
            var words = (uint*)(header + 8);
            if (words[0] != Protocol.Version) throw new VersionMismatchException("the channel " + path, words[0]);
            if (words[2] != Protocol.HeaderBytes || words[3] != Protocol.GreetingSlotBytes || words[4] < 1 || words[4] > 2
                || words[6] > Protocol.MaxNumEnvs)
            {
                throw new ChannelException(ErrorCode.Corrupt, "the header of " + path + " is not sound");
            }
            return (Paradigm)words[4];
        }

        public static Slot RequestGreeting(byte* header)
        {
            return new Slot(header + Protocol.HeaderBytes, Protocol.GreetingCapacity);
        }

        public static Slot ReplyGreeting(byte* header)
        {
            return new Slot(header + Protocol.HeaderBytes + Protocol.GreetingSlotBytes, Protocol.GreetingCapacity);
        }
    }

    /// <summary>What one end says of itself: a line of the header that only it writes.</summary>
    internal unsafe struct EndLine
    {
        private const int ProgramBytes = 96;

        private readonly byte* line;

        public EndLine(byte* header, End end)
        {
            line = header + (end == End.Server ? 128 : 256);
        }

        public EndState State
        {
            get { return (EndState)Get(0); }
        }

        public Reason Reason
        {
            get { return Get(4) <= 7 ? (Reason)Get(4) : Reason.None; }
        }

        public Holder Holder
        {
            get { return (Holder)Get(8); }
        }

        public Bell Bell
        {
            get { return (Bell)Get(12); }
        }

        public uint Capabilities
        {
            get { return Get(16); }
        }

        public void Announce()
        {
            Put(4, 0);
            Put(8, (uint)Holder.Process);
            Put(12, (uint)(Libc.HasFutex ? Bell.Futex : Bell.Poll));
            Put(16, Capability.Own);
            Put(20, Libc.ProcessId());
            var now = (ulong)(DateTime.UtcNow - new DateTime(1970, 1, 1)).TotalSeconds;
            Put(24, (uint)now);
            Put(28, (uint)(now >> 32));
            Memory.Clear(line + 32, ProgramBytes);
            byte[] program = ValueEncoder.Utf8.GetBytes(Texts.Shortened(AppDomain.CurrentDomain.FriendlyName ?? "", ProgramBytes - 1));
            for (int i = 0; i < program.Length; i++) line[32 + i] = program[i];
            Put(0, (uint)EndState.Alive);
        }

        public void SayGoodbye(Reason reason)
        {
            Put(4, (uint)reason);
            Put(0, (uint)EndState.Closed);
        }

        public string Who
        {
            get
            {
                var text = new System.Text.StringBuilder("process " + Get(20) + " (");
                for (int i = 0; i < ProgramBytes && line[32 + i] != 0; i++)
                {
                    byte one = line[32 + i];
                    text.Append(one >= 0x20 && one < 0x7F ? (char)one : '?');
                }
                return text.Append(')').ToString();
            }
        }

        private void Put(int offset, uint value)
        {
            Volatile.Write(ref *(uint*)(line + offset), value);
        }

        private uint Get(int offset)
        {
            return Volatile.Read(ref *(uint*)(line + offset));
        }
    }

    internal static class Capability
    {
        /// <summary>What this client can do on this system.</summary>
        public static uint Own
        {
            get
            {
                return Protocol.CapabilityRecords | (Libc.IsAvailable ? Protocol.CapabilityFifo : 0)
                       | (Libc.HasFutex ? Protocol.CapabilityFutex : 0);
            }
        }
    }
}
