using System;
using System.Collections;
using System.Collections.Generic;
using System.Text;

namespace RLay
{
    internal static class Extension
    {
        public const byte Tuple = 1;
        public const byte Array = 2;
        public const byte Scalar = 3;
        public const byte ObjectArray = 4;
        public const byte Graph = 5;
        public const byte BigInt = 6;
    }

    /// <summary>Writes values as msgpack with the extension types of docs/spec/messages.md.</summary>
    internal sealed unsafe class ValueEncoder
    {
        internal static readonly UTF8Encoding Utf8 = new UTF8Encoding(false, true);

        private readonly ByteBuffer target;
        private readonly bool bigIntegers;
        private readonly List<object> path = new List<object>();

        public ValueEncoder(ByteBuffer target, bool bigIntegers = false)
        {
            this.target = target;
            this.bigIntegers = bigIntegers;
        }

        /// <summary>Appends one value; an UnsendableException says where it cannot be expressed.</summary>
        public void Encode(object value)
        {
            path.Clear();
            Write(value, 0, target);
        }

        public static byte[] ToBytes(object value, bool bigIntegers = false)
        {
            var buffer = new ByteBuffer();
            new ValueEncoder(buffer, bigIntegers).Encode(value);
            return buffer.ToArray();
        }

        private void Write(object value, int depth, ByteBuffer to)
        {
            if (value == null) to.Put(0xC0);
            else if (value is bool) to.Put((bool)value ? (byte)0xC3 : (byte)0xC2);
            else if (value is double) WriteFloat((double)value, to);
            else if (value is long) WriteInteger((long)value, to);
            else if (value is string) WriteText((string)value, to);
            else if (value is int) WriteInteger((int)value, to);
            else if (value is float) WriteFloat((float)value, to);
            else if (value is Map) WriteMap((Map)value, depth + 1, to);
            else if (value is NdArray) WriteArray((NdArray)value, to);
            else if (value is Scalar) WriteScalar((Scalar)value, to);
            else if (value is byte[]) WriteBytes((byte[])value, to);
            else if (value is TupleValue) WriteContainer(Extension.Tuple, ((TupleValue)value).Items, null, depth, to);
            else if (value is ObjectArray) WriteObjectArray((ObjectArray)value, depth, to);
            else if (value is GraphValue) WriteGraph((GraphValue)value, depth, to);
            else if (value is BigInt) WriteBigInt((BigInt)value, to);
            else if (!WriteOther(value, depth, to)) throw Refuse("a value of type " + value.GetType() + " cannot be sent");
        }

        private bool WriteOther(object value, int depth, ByteBuffer to)
        {
            var array = value as Array;
            if (array != null && array.Rank == 1 && DTypes.Of(array) != DType.None)
            {
                WriteArray(new NdArray(array), to);
                return true;
            }
            var list = value as IList;
            if (list != null)
            {
                WriteList(list, depth + 1, to);
                return true;
            }
            var dictionary = value as IDictionary<string, object>;
            if (dictionary != null)
            {
                var map = new Map();
                foreach (var item in dictionary) map.Add(item.Key, item.Value);
                WriteMap(map, depth + 1, to);
                return true;
            }
            if (value is Enum) return false;
            switch (Type.GetTypeCode(value.GetType()))
            {
                case TypeCode.SByte:
                case TypeCode.Byte:
                case TypeCode.Int16:
                case TypeCode.UInt16:
                case TypeCode.UInt32:
                    WriteInteger(Convert.ToInt64(value), to);
                    return true;
                case TypeCode.UInt64:
                    WriteNatural((ulong)value, to);
                    return true;
                default:
                    return false;
            }
        }

        private static void WriteInteger(long value, ByteBuffer to)
        {
            if (value >= 0)
            {
                WriteNatural((ulong)value, to);
            }
            else if (value >= -32)
            {
                to.Put((byte)value);
            }
            else
            {
                int size = value >= sbyte.MinValue ? 0 : value >= short.MinValue ? 1 : value >= int.MinValue ? 2 : 3;
                to.Put((byte)(0xD0 + size));
                to.PutBigEndian((ulong)value, 1 << size);
            }
        }

        private static void WriteNatural(ulong value, ByteBuffer to)
        {
            if (value < 128)
            {
                to.Put((byte)value);
                return;
            }
            int size = value <= byte.MaxValue ? 0 : value <= ushort.MaxValue ? 1 : value <= uint.MaxValue ? 2 : 3;
            to.Put((byte)(0xCC + size));
            to.PutBigEndian(value, 1 << size);
        }

        private static void WriteFloat(double value, ByteBuffer to)
        {
            to.Put(0xCB);
            to.PutBigEndian(Bits.Of(value), 8);
        }

        private void WriteText(string text, ByteBuffer to)
        {
            byte[] bytes;
            try
            {
                bytes = Utf8.GetBytes(text);
            }
            catch (EncoderFallbackException)
            {
                throw Refuse("a str holds half a surrogate pair");
            }
            if (bytes.Length < 32)
            {
                to.Put((byte)(0xA0 | bytes.Length));
            }
            else
            {
                WriteLength(0xD9, bytes.Length, to);
            }
            to.Put(bytes, 0, bytes.Length);
        }

        private static void WriteBytes(byte[] bytes, ByteBuffer to)
        {
            WriteLength(0xC4, bytes.Length, to);
            to.Put(bytes, 0, bytes.Length);
        }

        /// <summary>A length in one, two or four bytes behind the first of three codes.</summary>
        private static void WriteLength(int code, int length, ByteBuffer to)
        {
            int size = length <= byte.MaxValue ? 0 : length <= ushort.MaxValue ? 1 : 2;
            to.Put((byte)(code + size));
            to.PutBigEndian((ulong)length, 1 << size);
        }

        private static void WriteCount(int count, byte small, byte code, ByteBuffer to)
        {
            if (count < 16)
            {
                to.Put((byte)(small | count));
                return;
            }
            bool wide = count > ushort.MaxValue;
            to.Put((byte)(code + (wide ? 1 : 0)));
            to.PutBigEndian((ulong)count, wide ? 4 : 2);
        }

        private void WriteList(IList items, int depth, ByteBuffer to)
        {
            CheckDepth(depth);
            WriteCount(items.Count, 0x90, 0xDC, to);
            for (int i = 0; i < items.Count; i++)
            {
                path.Add(i);
                Write(items[i], depth, to);
                path.RemoveAt(path.Count - 1);
            }
        }

        private void WriteMap(Map map, int depth, ByteBuffer to)
        {
            CheckDepth(depth);
            WriteCount(map.Count, 0x80, 0xDE, to);
            for (int i = 0; i < map.Count; i++)
            {
                KeyValuePair<string, object> item = map.At(i);
                path.Add(item.Key);
                WriteText(item.Key, to);
                Write(item.Value, depth, to);
                path.RemoveAt(path.Count - 1);
            }
        }

        private void WriteContainer(byte type, IList items, int[] shape, int depth, ByteBuffer to)
        {
            CheckDepth(depth + 1);
            var body = new ByteBuffer();
            WriteCount(items.Count + (shape == null ? 0 : 1), 0x90, 0xDC, body);
            if (shape != null)
            {
                WriteCount(shape.Length, 0x90, 0xDC, body);
                foreach (int size in shape) WriteInteger(size, body);
            }
            for (int i = 0; i < items.Count; i++)
            {
                path.Add(i);
                Write(items[i], depth + 1, body);
                path.RemoveAt(path.Count - 1);
            }
            WriteExtension(type, body.Length, to);
            to.Put(body);
        }

        private void WriteObjectArray(ObjectArray array, int depth, ByteBuffer to)
        {
            WriteContainer(Extension.ObjectArray, array.Items, array.Shape, depth, to);
        }

        private void WriteGraph(GraphValue graph, int depth, ByteBuffer to)
        {
            WriteContainer(Extension.Graph, new[] { graph.Nodes, graph.Edges, graph.EdgeLinks }, null, depth, to);
        }

        private static void WriteExtension(byte type, int length, ByteBuffer to)
        {
            switch (length)
            {
                case 1: to.Put(0xD4); break;
                case 2: to.Put(0xD5); break;
                case 4: to.Put(0xD6); break;
                case 8: to.Put(0xD7); break;
                case 16: to.Put(0xD8); break;
                default: WriteLength(0xC7, length, to); break;
            }
            to.Put(type);
        }

        private void WriteArray(NdArray array, ByteBuffer to)
        {
            int bytes = array.ByteLength;
            long length = 2 + 8L * array.Rank + bytes;
            if (length > 0x7FFFFFC7) throw Refuse("an array of " + bytes + " bytes is too large");
            WriteExtension(Extension.Array, (int)length, to);
            to.Put((byte)array.DType);
            to.Put((byte)array.Rank);
            foreach (int size in array.RawShape) to.PutLittleEndian((ulong)size, 8);
            int start = to.Skip(bytes);
            if (bytes == 0) return;
            fixed (byte* data = to.Data) Memory.Store(array.Data, data + start);
        }

        private static void WriteScalar(Scalar scalar, ByteBuffer to)
        {
            int size = DTypes.Size(scalar.DType);
            WriteExtension(Extension.Scalar, 1 + size, to);
            to.Put((byte)scalar.DType);
            to.PutLittleEndian(scalar.Low, Math.Min(size, 8));
            if (size == 16) to.PutLittleEndian(scalar.High, 8);
        }

        private void WriteBigInt(BigInt number, ByteBuffer to)
        {
            byte[] bytes = number.RawBytes;
            if (!bigIntegers || bytes.Length > Protocol.MaxBigIntBytes)
            {
                throw Refuse("an integer beyond 64 bits can only be a seed");
            }
            WriteExtension(Extension.BigInt, bytes.Length, to);
            to.Put(bytes, 0, bytes.Length);
        }

        private void CheckDepth(int depth)
        {
            if (depth > Protocol.MaxDepth) throw Refuse("it is nested deeper than " + Protocol.MaxDepth + " levels");
        }

        private UnsendableException Refuse(string why)
        {
            var text = new StringBuilder("$");
            foreach (object piece in path)
            {
                if (piece is int) text.Append('[').Append(piece).Append(']');
                else text.Append('.').Append(piece);
            }
            return new UnsendableException(why + ", at " + text);
        }
    }
}
