using System;
using System.Collections.Generic;
using UnityEngine;

namespace RLay
{
    /// <summary>Collects the observation of one decision: plain numbers, and values under names.</summary>
    /// <remarks>
    /// Numbers that are added without a name make one array of float32, in their order. Where
    /// names are used too, the observation is a Dict and that array is its member "vector".
    /// </remarks>
    public sealed class RLayObservations
    {
        private readonly List<float> vector = new List<float>();
        private readonly Map named = new Map();

        public void Add(float value) { vector.Add(value); }

        public void Add(bool value) { vector.Add(value ? 1f : 0f); }

        public void Add(Vector2 value) { Add(value.x); Add(value.y); }

        public void Add(Vector3 value) { Add(value.x); Add(value.y); Add(value.z); }

        public void Add(Quaternion value) { Add(value.x); Add(value.y); Add(value.z); Add(value.w); }

        /// <summary>A value under a name of the observation space: an array, a number, a text.</summary>
        public void Add(string name, object value)
        {
            named[name] = value;
        }

        internal void Clear()
        {
            vector.Clear();
            named.Clear();
        }

        /// <summary>The observation, in the form of its space.</summary>
        internal object ToElement(Space space)
        {
            float[] numbers = vector.ToArray();
            if (space.Kind != SpaceKind.Dict)
            {
                if (named.Count > 0) throw new MisuseException("an observation has names, so its space must be a Dict, not " + space);
                return numbers;
            }
            var element = new Map();
            foreach (KeyValuePair<string, object> item in named) element.Add(item.Key, item.Value);
            if (numbers.Length > 0) element.Add("vector", numbers);
            return element;
        }
    }

    /// <summary>An action, as OnActionReceived reads it and Heuristic writes it.</summary>
    public sealed class RLayAction
    {
        private static readonly float[] none = new float[0];

        /// <summary>The action itself: what a space other than Box and the discrete ones gives.</summary>
        public object Value { get; set; }

        /// <summary>Elements of a Box of float32.</summary>
        public float[] Continuous
        {
            get
            {
                var array = Value as NdArray;
                return array != null ? array.Data as float[] ?? none : Value as float[] ?? none;
            }
            set { Value = value; }
        }

        /// <summary>A Discrete, or the element of a MultiDiscrete or MultiBinary with this index.</summary>
        public int GetDiscrete(int index = 0)
        {
            var array = Value as NdArray;
            if (array != null) return Convert.ToInt32(array.Data.GetValue(index));
            return Convert.ToInt32(Value is Scalar ? ((Scalar)Value).ToNumber() : Value);
        }
    }
}
