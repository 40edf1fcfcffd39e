using System;
using System.Collections.Generic;

namespace RLay
{
    /// <summary>Reads msgpack with the extension types; every length is checked before it is used.</summary>
    internal unsafe struct ValueDecoder
    {
        private readonly byte* data;
        private readonly long end;
        private readonly bool bigIntegers;
        private long at;

        public ValueDecoder(byte* data, long size, bool bigIntegers = false)
        {
            this.data = data;
            end = size;
            this.bigIntegers = bigIntegers;
            at = 0;
        }

        /// <summary>The one value that the bytes are.</summary>
        public object Whole()
        {
            object value = Read(0);
            if (at != end) throw Malformed("there are bytes behind the value");
            return value;
        }

        public static object FromBytes(byte[] bytes, bool bigIntegers = false)
        {
            // An empty array has no first byte to point to.
            if (bytes.Length == 0) throw Malformed("an empty payload is no value");
            fixed (byte* start = bytes) return new ValueDecoder(start, bytes.Length, bigIntegers).Whole();
        }

        private object Read(int depth)
        {
            byte code = (byte)Number(1);
            if (code < 0x80) return (long)code;
            if (code >= 0xE0) return (long)(sbyte)code;
            if (code < 0x90) return ReadMap(code & 15, depth + 1);
            if (code < 0xA0) return ReadList(code & 15, depth + 1);
            if (code < 0xC0) return ReadText(code & 31);
            switch (code)
            {
                case 0xC0: return null;
                case 0xC2: return false;
                case 0xC3: return true;
                case 0xC4: return ReadBytes((long)Number(1));
                case 0xC5: return ReadBytes((long)Number(2));
                case 0xC6: return ReadBytes((long)Number(4));
                case 0xC7: return ReadExtension((long)Number(1), depth);
                case 0xC8: return ReadExtension((long)Number(2), depth);
                case 0xC9: return ReadExtension((long)Number(4), depth);
                case 0xCA: return (double)Bits.ToSingle((uint)Number(4));
                case 0xCB: return Bits.ToDouble(Number(8));
                case 0xCC: return (long)Number(1);
                case 0xCD: return (long)Number(2);
                case 0xCE: return (long)Number(4);
                case 0xCF:
                    ulong natural = Number(8);
                    return natural <= long.MaxValue ? (object)(long)natural : natural;
                case 0xD0: return (long)(sbyte)Number(1);
                case 0xD1: return (long)(short)Number(2);
                case 0xD2: return (long)(int)Number(4);
                case 0xD3: return (long)Number(8);
                case 0xD4: return ReadExtension(1, depth);
                case 0xD5: return ReadExtension(2, depth);
                case 0xD6: return ReadExtension(4, depth);
                case 0xD7: return ReadExtension(8, depth);
                case 0xD8: return ReadExtension(16, depth);
                case 0xD9: return ReadText((long)Number(1));
                case 0xDA: return ReadText((long)Number(2));
                case 0xDB: return ReadText((long)Number(4));
                case 0xDC: return ReadList((long)Number(2), depth + 1);
                case 0xDD: return ReadList((long)Number(4), depth + 1);
                case 0xDE: return ReadMap((long)Number(2), depth + 1);
                case 0xDF: return ReadMap((long)Number(4), depth + 1);
                default: throw Malformed("0xC1 begins no value");
            }
        }

        /// <summary>Takes so many bytes; where they begin.</summary>
        private byte* Take(long bytes)
        {
            if (bytes > end - at) throw Malformed("it is cut off");
            byte* start = data + at;
            at += bytes;
            return start;
        }

        private ulong Number(int bytes)
        {
            byte* start = Take(bytes);
            ulong number = 0;
            for (int i = 0; i < bytes; i++) number = (number << 8) | start[i];
            return number;
        }

        private string ReadText(long length)
        {
            byte* start = Take(length);
            if (length == 0) return "";
            try
            {
                return ValueEncoder.Utf8.GetString(start, (int)length);
            }
            catch (ArgumentException)
            {
                throw Malformed("a str is no UTF-8");
            }
        }

        private byte[] ReadBytes(long length)
        {
            byte* start = Take(length);
            var bytes = new byte[length];
            for (long i = 0; i < length; i++) bytes[i] = start[i];
            return bytes;
        }

        private List<object> ReadList(long count, int depth)
        {
            CheckDepth(depth);
            // Each item takes at least a byte, so what is there bounds the memory.
            if (count > end - at) throw Malformed("it is cut off");
            var items = new List<object>((int)Math.Min(count, 1024));
            for (long i = 0; i < count; i++) items.Add(Read(depth));
            return items;
        }

        private Map ReadMap(long count, int depth)
        {
            CheckDepth(depth);
            if (2 * count > end - at) throw Malformed("it is cut off");
            var map = new Map();
            for (long i = 0; i < count; i++)
            {
                var key = Read(depth) as string;
                if (key == null) throw Malformed("a key is no str");
                if (map.ContainsKey(key)) throw Malformed("a key occurs twice");
                map.Add(key, Read(depth));
            }
            return map;
        }

        private object ReadExtension(long length, int depth)
        {
            byte type = (byte)Number(1);
            byte* start = Take(length);
            var inner = new ValueDecoder(start, length, bigIntegers);
            switch (type)
            {
                case Extension.Tuple:
                    return new TupleValue(inner.Items(depth));
                case Extension.Array:
                    return ReadArray(start, length);
                case Extension.Scalar:
                    return ReadScalar(start, length);
                case Extension.ObjectArray:
                    return ReadObjectArray(inner.Items(depth));
                case Extension.Graph:
                    List<object> parts = inner.Items(depth);
                    if (parts.Count != 3) throw Malformed("a graph has three parts");
                    return new GraphValue(parts[0], parts[1], parts[2]);
                case Extension.BigInt:
                    return ReadBigInt(start, length);
                default:
                    throw Malformed("extension type " + type + " is not known");
            }
        }

        /// <summary>The array that the contents of an extension are.</summary>
        private List<object> Items(int depth)
        {
            byte code = (byte)Number(1);
            long count;
            if (code >= 0x90 && code < 0xA0) count = code & 15;
            else if (code == 0xDC) count = (long)Number(2);
            else if (code == 0xDD) count = (long)Number(4);
            else throw Malformed("an extension holds no array");
            List<object> items = ReadList(count, depth + 1);
            if (at != end) throw Malformed("there are bytes behind an extension's array");
            return items;
        }

        private static object ReadArray(byte* start, long length)
        {
            if (length < 2 || !DTypes.IsKnown(start[0]) || start[1] > Protocol.MaxDimensions || length < 2 + 8 * start[1])
            {
                throw Malformed("an array has no sound head");
            }
            var dtype = (DType)start[0];
            var shape = new int[start[1]];
            long count = 1;
            bool empty = false;
            for (int i = 0; i < shape.Length; i++)
            {
                ulong size = LittleEndian(start + 2 + 8 * i, 8);
                if (size > Protocol.MaxItems) throw Malformed("an array is too large");
                shape[i] = (int)size;
                empty |= size == 0;
                if (empty) continue;
                count *= (long)size;
                if (count > Protocol.MaxItems) throw Malformed("an array is too large");
            }
            if (empty) count = 0;
            byte* elements = start + 2 + 8 * shape.Length;
            if (length - 2 - 8 * shape.Length != count * DTypes.Size(dtype))
            {
                throw Malformed("an array's bytes are not those of its shape");
            }
            Array array = DTypes.NewArray(dtype, count);
            if (!Memory.Load(elements, array)) throw Malformed("a bool is neither 0 nor 1");
            return new NdArray(dtype, array, shape);
        }

        private static object ReadScalar(byte* start, long length)
        {
            if (length < 1 || !DTypes.IsKnown(start[0]) || length != 1 + DTypes.Size((DType)start[0]))
            {
                throw Malformed("a scalar's bytes are not those of its dtype");
            }
            var dtype = (DType)start[0];
            int size = DTypes.Size(dtype);
            ulong low = LittleEndian(start + 1, Math.Min(size, 8));
            if (dtype == DType.Bool && low > 1) throw Malformed("a bool is neither 0 nor 1");
            return new Scalar(dtype, low, size == 16 ? LittleEndian(start + 9, 8) : 0);
        }

        private static object ReadObjectArray(List<object> items)
        {
            var sizes = items.Count > 0 ? items[0] as List<object> : null;
            if (sizes == null || sizes.Count > Protocol.MaxDimensions) throw Malformed("an object array has no shape");
            var shape = new int[sizes.Count];
            long count = 1;
            for (int i = 0; i < shape.Length; i++)
            {
                if (!(sizes[i] is long) || (long)sizes[i] < 0 || (long)sizes[i] > Protocol.MaxItems)
                {
                    throw Malformed("a size of an object array is none");
                }
                shape[i] = (int)(long)sizes[i];
                count *= shape[i];
                if (count > Protocol.MaxItems) throw Malformed("an object array is too large");
            }
            items.RemoveAt(0);
            if (count != items.Count) throw Malformed("an object array's items are not those of its shape");
            return new ObjectArray(shape, items);
        }

        private object ReadBigInt(byte* start, long length)
        {
            if (!bigIntegers) throw Malformed("an integer beyond 64 bits is for a RESET only");
            if (length < 1 || length > Protocol.MaxBigIntBytes) throw Malformed("an integer is too long");
            var bytes = new byte[length];
            for (long i = 0; i < length; i++) bytes[i] = start[i];
            return new BigInt(bytes);
        }

        private static ulong LittleEndian(byte* start, int bytes)
        {
            ulong number = 0;
            for (int i = bytes - 1; i >= 0; i--) number = (number << 8) | start[i];
            return number;
        }

        private static void CheckDepth(int depth)
        {
            if (depth > Protocol.MaxDepth) throw Malformed("it is nested too deep");
        }

        private static ProtocolException Malformed(string why)
        {
            return new ProtocolException("a value that came is malformed: " + why);
        }
    }
}
