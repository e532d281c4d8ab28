//! Generated sample files for the demo: pictures, a tune and letters.

use std::f32::consts::TAU;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

const WIDTH: u32 = 960;
const HEIGHT: u32 = 640;
const TUNE_SECONDS: u32 = 12;
const RATE: u32 = 22_050;

type Colour = [f32; 3];

/// One hour of a day by the sea.
struct Hour {
    file: &'static str,
    /// The sky overhead, and at the horizon.
    sky: [Colour; 2],
    light: Colour,
    /// Where sun or moon stands; 0 is the top of the picture.
    height: f32,
}

const HOURS: [Hour; 4] = [
    Hour {
        file: "1 morning.png",
        sky: [[120., 160., 220.], [250., 210., 180.]],
        light: [255., 240., 200.],
        height: 0.55,
    },
    Hour {
        file: "2 noon.png",
        sky: [[60., 130., 230.], [170., 210., 250.]],
        light: [255., 255., 240.],
        height: 0.12,
    },
    Hour {
        file: "3 evening.png",
        sky: [[90., 60., 130.], [250., 140., 80.]],
        light: [255., 200., 90.],
        height: 0.50,
    },
    Hour {
        file: "4 night.png",
        sky: [[8., 10., 30.], [30., 40., 80.]],
        light: [230., 230., 220.],
        height: 0.25,
    },
];

/// Fills a new folder.
pub fn draw(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder.join("letters"))?;
    for (index, hour) in HOURS.iter().enumerate() {
        picture(&folder.join(hour.file), index as u64 + 1, hour)?;
    }
    fs::write(
        folder.join("3 evening.txt"),
        "The evening Grandmother taught us the names of the winds.\n",
    )?;
    tune(&folder.join("the song she hummed.wav"))?;
    fs::write(
        folder.join("letters").join("carta da avó.txt"),
        "Meus queridos, o mar estava calmo hoje. Guardem estas fotografias. — Avó\n",
    )?;
    fs::write(
        folder.join("letters").join("to everyone who reads this.txt"),
        "We were here, and we were happy.\n",
    )
}

fn picture(path: &Path, seed: u64, hour: &Hour) -> io::Result<()> {
    let [top, bottom] = hour.sky;
    let mut grain = Grain(seed);
    let mut pixels = Vec::with_capacity((WIDTH * HEIGHT * 3) as usize);
    let horizon = 0.62;
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let (u, v) = (x as f32 / WIDTH as f32, y as f32 / HEIGHT as f32);
            let sky = (v / horizon).min(1.0);
            let distance = ((u - 0.65) * 1.5).hypot(v - hour.height);
            let glow = (0.09 / distance.max(0.06)).min(1.0).powi(2);
            let wave = (v * 190.0 + (u * 23.0 + seed as f32).sin() * 3.0).sin();
            for channel in 0..3 {
                let mut value = top[channel] + (bottom[channel] - top[channel]) * sky;
                value += (hour.light[channel] - value) * glow;
                if v > horizon {
                    value = value * 0.55 + wave * 9.0 + 12.0 * (channel as f32);
                }
                value += grain.next() * 14.0;
                pixels.push(value.clamp(0.0, 255.0) as u8);
            }
        }
    }
    let mut encoder = png::Encoder::new(BufWriter::new(File::create(path)?), WIDTH, HEIGHT);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(io::Error::other)?;
    writer.write_image_data(&pixels).map_err(io::Error::other)?;
    writer.finish().map_err(io::Error::other)
}

/// A slow pentatonic tune, 16-bit mono WAV.
fn tune(path: &Path) -> io::Result<()> {
    let notes = [0, 2, 4, 7, 9, 7, 4, 2];
    let samples = TUNE_SECONDS * RATE;
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(b"RIFF")?;
    out.write_all(&(36 + samples * 2).to_le_bytes())?;
    out.write_all(b"WAVEfmt ")?;
    out.write_all(&16u32.to_le_bytes())?;
    out.write_all(&[1, 0, 1, 0])?;
    out.write_all(&RATE.to_le_bytes())?;
    out.write_all(&(RATE * 2).to_le_bytes())?;
    out.write_all(&[2, 0, 16, 0])?;
    out.write_all(b"data")?;
    out.write_all(&(samples * 2).to_le_bytes())?;
    let mut grain = Grain(7);
    for at in 0..samples {
        let second = at as f32 / RATE as f32;
        let beat = second * 2.0;
        let step = notes[beat as usize % notes.len()];
        let frequency = 261.63 * 2f32.powf(step as f32 / 12.0);
        let fade = (1.0 - beat.fract()).powf(1.5);
        let value = (second * frequency * TAU).sin() * fade * 9000.0 + grain.next() * 40.0;
        out.write_all(&(value as i16).to_le_bytes())?;
    }
    out.flush()
}

/// Film grain between -1 and 1 (xorshift64, Marsaglia 2003); the same for the same seed.
struct Grain(u64);

impl Grain {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
