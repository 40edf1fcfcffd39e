using System;
using System.Collections;
using System.Collections.Generic;
using System.Text;

namespace RLay
{
    // A value is null, bool, long, ulong (beyond long), double, string, byte[] (bytes),
    // List<object>, Map, or one of the classes below and NdArray. A writer takes C#'s other
    // numbers, lists, dictionaries and arrays of numbers too.

    /// <summary>A map with str keys that keeps their order.</summary>
    public sealed class Map : IEnumerable<KeyValuePair<string, object>>
    {
        private readonly List<KeyValuePair<string, object>> items = new List<KeyValuePair<string, object>>();
        private Dictionary<string, int> index;

        public int Count
        {
            get { return items.Count; }
        }

        public object this[string key]
        {
            get
            {
                object value;
                if (!TryGetValue(key, out value)) throw new KeyNotFoundException("there is no key " + key);
                return value;
            }
            set
            {
                int at = Find(key);
                if (at >= 0) items[at] = new KeyValuePair<string, object>(key, value);
                else Add(key, value);
            }
        }

        public KeyValuePair<string, object> At(int position)
        {
            return items[position];
        }

        public void Add(string key, object value)
        {
            if (key == null) throw new ArgumentNullException("key");
            if (Find(key) >= 0) throw new ArgumentException("the key " + key + " is there already");
            if (index != null) index.Add(key, items.Count);
            items.Add(new KeyValuePair<string, object>(key, value));
        }

        public bool ContainsKey(string key)
        {
            return Find(key) >= 0;
        }

        public bool TryGetValue(string key, out object value)
        {
            int at = Find(key);
            value = at >= 0 ? items[at].Value : null;
            return at >= 0;
        }

        /// <summary>The value of a key, or another one where the key is missing or of another type.</summary>
        public T Get<T>(string key, T otherwise = default(T))
        {
            object value;
            return TryGetValue(key, out value) && value is T ? (T)value : otherwise;
        }

        public void Clear()
        {
            items.Clear();
            index = null;
        }

        public IEnumerator<KeyValuePair<string, object>> GetEnumerator()
        {
            return items.GetEnumerator();
        }

        IEnumerator IEnumerable.GetEnumerator()
        {
            return items.GetEnumerator();
        }

        private int Find(string key)
        {
            // Few keys are the rule; an index pays only where they are many.
            if (items.Count <= 8)
            {
                for (int i = 0; i < items.Count; i++)
                {
                    if (items[i].Key == key) return i;
                }
                return -1;
            }
            if (index == null)
            {
                index = new Dictionary<string, int>(StringComparer.Ordinal);
                for (int i = 0; i < items.Count; i++) index.Add(items[i].Key, i);
            }
            int at;
            return index.TryGetValue(key, out at) ? at : -1;
        }
    }

    /// <summary>A tuple of Python.</summary>
    public sealed class TupleValue
    {
        public TupleValue(params object[] items)
        {
            Items = new List<object>(items);
        }

        internal TupleValue(List<object> items)
        {
            Items = items;
        }

        public List<object> Items { get; private set; }
    }

    /// <summary>A NumPy scalar: a number that knows its dtype.</summary>
    public struct Scalar
    {
        /// <summary>Bits of the element, or of its real part.</summary>
        internal ulong Low;

        /// <summary>Bits of the imaginary part of a Complex128.</summary>
        internal ulong High;

        internal Scalar(DType dtype, ulong low, ulong high) : this()
        {
            DType = dtype;
            Low = low;
            High = high;
        }

        public DType DType { get; private set; }

        public static Scalar Of(bool value) { return new Scalar(DType.Bool, value ? 1UL : 0UL, 0); }
        public static Scalar Of(sbyte value) { return new Scalar(DType.Int8, (byte)value, 0); }
        public static Scalar Of(byte value) { return new Scalar(DType.UInt8, value, 0); }
        public static Scalar Of(short value) { return new Scalar(DType.Int16, (ushort)value, 0); }
        public static Scalar Of(ushort value) { return new Scalar(DType.UInt16, value, 0); }
        public static Scalar Of(int value) { return new Scalar(DType.Int32, (uint)value, 0); }
        public static Scalar Of(uint value) { return new Scalar(DType.UInt32, value, 0); }
        public static Scalar Of(long value) { return new Scalar(DType.Int64, (ulong)value, 0); }
        public static Scalar Of(ulong value) { return new Scalar(DType.UInt64, value, 0); }
        public static Scalar Of(float value) { return new Scalar(DType.Float32, Bits.Of(value), 0); }
        public static Scalar Of(double value) { return new Scalar(DType.Float64, Bits.Of(value), 0); }

        /// <summary>An integer of a dtype; it is cut to the dtype's bits.</summary>
        public static Scalar Integer(DType dtype, long value)
        {
            int bits = 8 * DTypes.Size(dtype);
            return new Scalar(dtype, bits == 64 ? (ulong)value : (ulong)value & ((1UL << bits) - 1), 0);
        }

        /// <summary>As the nearest number of C#: bool, long, ulong or double.</summary>
        public object ToNumber()
        {
            switch (DType)
            {
                case DType.Bool: return Low == 1;
                case DType.Int8: return (long)(sbyte)Low;
                case DType.Int16: return (long)(short)Low;
                case DType.Int32: return (long)(int)Low;
                case DType.Int64: return (long)Low;
                case DType.UInt8:
                case DType.UInt16:
                case DType.UInt32: return (long)Low;
                case DType.UInt64: return Low <= long.MaxValue ? (object)(long)Low : Low;
                case DType.Float16: return Bits.HalfToDouble((ushort)Low);
                case DType.Float32: return (double)Bits.ToSingle((uint)Low);
                case DType.Float64: return Bits.ToDouble(Low);
                default: throw new InvalidOperationException("a complex number is no number of C#");
            }
        }

        public override string ToString()
        {
            return DType >= DType.Complex64 ? DTypes.Name(DType) : DTypes.Name(DType) + " " + ToNumber();
        }
    }

    /// <summary>An array of any values.</summary>
    public sealed class ObjectArray
    {
        public ObjectArray(int[] shape, List<object> items)
        {
            if (NdArray.CountOf(shape) != items.Count) throw new ArgumentException("the shape is not that of the items");
            Shape = shape;
            Items = items;
        }

        public int[] Shape { get; private set; }

        public List<object> Items { get; private set; }
    }

    /// <summary>An element of a Graph space; edges and their links may be null.</summary>
    public sealed class GraphValue
    {
        public GraphValue(object nodes, object edges, object edgeLinks)
        {
            Nodes = nodes;
            Edges = edges;
            EdgeLinks = edgeLinks;
        }

        public object Nodes { get; private set; }

        public object Edges { get; private set; }

        public object EdgeLinks { get; private set; }
    }

    /// <summary>An integer beyond 64 bits, as a seed may be.</summary>
    public sealed class BigInt
    {
        private readonly byte[] bytes;

        internal BigInt(byte[] littleEndian)
        {
            bytes = littleEndian;
        }

        /// <summary>Signed, the lowest byte first.</summary>
        public byte[] ToByteArray()
        {
            return (byte[])bytes.Clone();
        }

        internal byte[] RawBytes
        {
            get { return bytes; }
        }

        /// <summary>In decimal digits.</summary>
        public override string ToString()
        {
            bool negative = (bytes[bytes.Length - 1] & 0x80) != 0;
            var rest = new List<byte>(bytes.Length);
            int carry = 1;
            foreach (byte one in bytes)
            {
                int digit = negative ? (byte)~one + carry : one;
                carry = negative ? digit >> 8 : 0;
                rest.Add((byte)digit);
            }
            if (negative && carry != 0) rest.Add(1);
            var digits = new StringBuilder();
            while (rest.Count > 0)
            {
                int remainder = 0;
                for (int i = rest.Count - 1; i >= 0; i--)
                {
                    int part = (remainder << 8) | rest[i];
                    rest[i] = (byte)(part / 10);
                    remainder = part % 10;
                }
                digits.Insert(0, (char)('0' + remainder));
                while (rest.Count > 0 && rest[rest.Count - 1] == 0) rest.RemoveAt(rest.Count - 1);
            }
            if (digits.Length == 0) digits.Append('0');
            return negative ? "-" + digits : digits.ToString();
        }
    }

    internal static unsafe class Bits
    {
        public static uint Of(float value) { return *(uint*)&value; }
        public static ulong Of(double value) { return *(ulong*)&value; }
        public static float ToSingle(uint bits) { return *(float*)&bits; }
        public static double ToDouble(ulong bits) { return *(double*)&bits; }

        public static double HalfToDouble(ushort half)
        {
            int exponent = (half >> 10) & 31;
            int fraction = half & 1023;
            double value;
            if (exponent == 31) value = fraction == 0 ? double.PositiveInfinity : double.NaN;
            else if (exponent == 0) value = fraction * Math.Pow(2, -24);
            else value = (1024 + fraction) * Math.Pow(2, exponent - 25);
            return (half & 0x8000) != 0 ? -value : value;
        }
    }
}
