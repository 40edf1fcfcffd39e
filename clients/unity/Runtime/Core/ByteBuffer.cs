using System;

namespace RLay
{
    /// <summary>Bytes that grow at their end; the memory is kept from one use to the next.</summary>
    internal sealed class ByteBuffer
    {
        public byte[] Data = new byte[256];
        public int Length;

        public void Clear()
        {
            Length = 0;
        }

        public void Put(byte value)
        {
            if (Length == Data.Length) Reserve(1);
            Data[Length++] = value;
        }

        /// <summary>The lowest bytes of a number, the high one first, as msgpack has them.</summary>
        public void PutBigEndian(ulong value, int bytes)
        {
            Reserve(bytes);
            for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) Data[Length++] = (byte)(value >> shift);
        }

        public void PutLittleEndian(ulong value, int bytes)
        {
            Reserve(bytes);
            for (int i = 0; i < bytes; i++) Data[Length++] = (byte)(value >> (8 * i));
        }

        public void Put(byte[] source, int start, int count)
        {
            Reserve(count);
            Buffer.BlockCopy(source, start, Data, Length, count);
            Length += count;
        }

        public void Put(ByteBuffer source)
        {
            Put(source.Data, 0, source.Length);
        }

        /// <summary>Room for so many bytes more, which the caller fills; where they begin.</summary>
        public int Skip(int count)
        {
            Reserve(count);
            int start = Length;
            Length += count;
            return start;
        }

        public byte[] ToArray()
        {
            var bytes = new byte[Length];
            Buffer.BlockCopy(Data, 0, bytes, 0, Length);
            return bytes;
        }

        private void Reserve(int count)
        {
            long needed = (long)Length + count;
            if (needed <= Data.Length) return;
            if (needed > 0x7FFFFFC7) throw new MessageTooLargeException(needed, 0x7FFFFFC7);
            Array.Resize(ref Data, (int)Math.Min(0x7FFFFFC7, Math.Max(needed, 2L * Data.Length)));
        }
    }
}
