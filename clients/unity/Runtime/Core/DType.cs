using System;

namespace RLay
{
    /// <summary>Types of the elements of arrays: the codes of docs/spec/messages.md.</summary>
    public enum DType : byte
    {
        /// <summary>No array: a number cell.</summary>
        None = 0,
        Bool = 1,
        Int8 = 2,
        UInt8 = 3,
        Int16 = 4,
        UInt16 = 5,
        Int32 = 6,
        UInt32 = 7,
        Int64 = 8,
        UInt64 = 9,
        /// <summary>Kept as its 16 bits in a ushort.</summary>
        Float16 = 10,
        Float32 = 11,
        Float64 = 12,
        /// <summary>Two float for each element.</summary>
        Complex64 = 13,
        /// <summary>Two double for each element.</summary>
        Complex128 = 14
    }

    internal static class DTypes
    {
        private static readonly int[] sizes = { 0, 1, 1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8, 8, 16 };

        private static readonly string[] names =
        {
            "none", "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
            "float16", "float32", "float64", "complex64", "complex128"
        };

        public static bool IsKnown(long code)
        {
            return code >= 1 && code <= 14;
        }

        public static int Size(DType dtype)
        {
            return sizes[(int)dtype];
        }

        public static string Name(DType dtype)
        {
            return names[(int)dtype];
        }

        public static bool IsInteger(DType dtype)
        {
            return dtype >= DType.Int8 && dtype <= DType.UInt64;
        }

        /// <summary>The dtype that an array of C# stands for by itself; None if it has none.</summary>
        public static DType Of(Array data)
        {
            if (data is float[]) return DType.Float32;
            if (data is double[]) return DType.Float64;
            if (data is bool[]) return DType.Bool;
            // The runtime takes sbyte[] for byte[] and back, so the element type is asked.
            switch (Type.GetTypeCode(data.GetType().GetElementType()))
            {
                case TypeCode.SByte: return DType.Int8;
                case TypeCode.Byte: return DType.UInt8;
                case TypeCode.Int16: return DType.Int16;
                case TypeCode.UInt16: return DType.UInt16;
                case TypeCode.Int32: return DType.Int32;
                case TypeCode.UInt32: return DType.UInt32;
                case TypeCode.Int64: return DType.Int64;
                case TypeCode.UInt64: return DType.UInt64;
                default: return DType.None;
            }
        }

        /// <summary>A new array of C# for so many elements.</summary>
        public static Array NewArray(DType dtype, long count)
        {
            switch (dtype)
            {
                case DType.Bool: return new bool[count];
                case DType.Int8: return new sbyte[count];
                case DType.UInt8: return new byte[count];
                case DType.Int16: return new short[count];
                case DType.UInt16:
                case DType.Float16: return new ushort[count];
                case DType.Int32: return new int[count];
                case DType.UInt32: return new uint[count];
                case DType.Int64: return new long[count];
                case DType.UInt64: return new ulong[count];
                case DType.Float32: return new float[count];
                case DType.Float64: return new double[count];
                case DType.Complex64: return new float[2 * count];
                case DType.Complex128: return new double[2 * count];
                default: throw new ArgumentException("there is no such dtype: " + dtype);
            }
        }

        /// <summary>Whether an array of C# can hold elements of a dtype.</summary>
        public static bool Fits(DType dtype, Array data)
        {
            DType own = Of(data);
            switch (dtype)
            {
                case DType.Float16: return own == DType.UInt16;
                case DType.Complex64: return own == DType.Float32;
                case DType.Complex128: return own == DType.Float64;
                default: return own == dtype && own != DType.None;
            }
        }
    }
}
