using System.Collections.Generic;
using System.Runtime.InteropServices;

namespace RLay
{
    /// <summary>The 64 bytes in front of each payload.</summary>
    [StructLayout(LayoutKind.Sequential, Size = Protocol.MessageHeaderBytes)]
    internal struct MessageHeader
    {
        public uint Word;
        public uint Sequence;
        public ulong Incarnation;
        public ulong Session;
        public uint PayloadBytes;
        public uint Part;
        public uint Parts;
        public uint RewardType;
        public ulong Reward;
        public ulong TotalBytes;
        public ulong Reserved;

        public MessageKind Kind
        {
            get { return (MessageKind)(Word & Protocol.KindMask); }
        }
    }

    /// <summary>A whole message that came. Its payload stays valid until the next but one.</summary>
    internal unsafe struct Message
    {
        public MessageHeader Header;
        public byte* Payload;
        public long Size;

        public MessageKind Kind
        {
            get { return Header.Kind; }
        }

        public bool Has(uint flag)
        {
            return (Header.Word & flag) != 0;
        }

        /// <summary>The tail's items, of which there must be at least so many.</summary>
        public List<object> Tail(long areaBytes, int least, bool bigIntegers = false)
        {
            long start = Has(Protocol.FlagFixed) ? areaBytes : 0;
            if (!Has(Protocol.FlagTail) || Size <= start) throw new ProtocolException("a message lacks its tail");
            var items = new ValueDecoder(Payload + start, Size - start, bigIntegers).Whole() as List<object>;
            if (items == null || items.Count < least) throw new ProtocolException("a tail has too few items");
            return items;
        }

        /// <summary>The value of a boxed item.</summary>
        public static object Unbox(object item)
        {
            var box = item as List<object>;
            if (box == null || box.Count != 1) throw new ProtocolException("a value of a tail is not boxed");
            return box[0];
        }
    }

    /// <summary>A message that is being written: into its slot's buffer, or beside it where it is long.</summary>
    internal sealed unsafe class Draft
    {
        public readonly ByteBuffer Tail = new ByteBuffer();
        public readonly ByteBuffer Overflow = new ByteBuffer();
        public uint Word;
        public uint RewardType;
        public ulong Reward;
        public byte* Room;
        public long Capacity;
        public long Size;

        public bool IsLong
        {
            get { return Overflow.Length > 0; }
        }

        public void Begin(MessageKind kind, byte* room, long capacity)
        {
            Word = (uint)kind;
            RewardType = 0;
            Reward = 0;
            Room = room;
            Capacity = capacity;
            Size = 0;
            Tail.Clear();
            Overflow.Clear();
        }

        /// <summary>Writes a value behind what is there.</summary>
        public void AppendTail(object items, bool bigIntegers = false)
        {
            Tail.Clear();
            new ValueEncoder(Tail, bigIntegers).Encode(items);
            Word |= Protocol.FlagTail;
            Append(Tail);
        }

        public void Append(ByteBuffer bytes)
        {
            if (Size + bytes.Length > Capacity)
            {
                int start = Overflow.Skip((int)Size);
                fixed (byte* target = Overflow.Data) Memory.Copy(Room, target + start, Size);
                Overflow.Put(bytes);
            }
            else if (bytes.Length > 0)
            {
                fixed (byte* source = bytes.Data) Memory.Copy(source, Room + Size, bytes.Length);
            }
            Size += bytes.Length;
        }
    }
}
